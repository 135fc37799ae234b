"""Between our words and Square's: ids that fit, money, and what an answer says."""

from typing import Any, Final

from square.requests.money import MoneyParams

from metergate.provider_port import (
    FAILED,
    LOST,
    OPEN,
    PENDING,
    SUCCEEDED,
    WON,
    DisputeFacts,
    Method,
    Money,
    RefundFacts,
    UnknownOutcome,
    fitting,
)

CURRENCIES: Final = frozenset({"AUD", "CAD", "EUR", "GBP", "JPY", "USD"})
OURS: Final = "metergate_payment"
"""Where an order of Square keeps our id."""
KEY_MAX: Final = 45
REFERENCE_MAX: Final = 40
_REFUND: Final = "Refund "
_REFUNDS: Final = {"COMPLETED": SUCCEEDED, "PENDING": PENDING}
_DISPUTES: Final = {"WON": WON, "INQUIRY_CLOSED": WON, "LOST": LOST, "ACCEPTED": LOST}


def objection(amount: Money) -> str:
    if amount.currency not in CURRENCIES:
        return f"Square takes no {amount.currency:.10}; pay in another currency."
    return "" if amount.minor > 0 else "Pay an amount above zero."


def square_money(amount: Money) -> MoneyParams:
    return {"amount": amount.minor, "currency": amount.currency}


def money(told: Any) -> Money:
    """Square counts in the smallest unit, as we do."""
    minor, currency = getattr(told, "amount", None), getattr(told, "currency", None)
    if type(minor) is not int or minor < 0 or not isinstance(currency, str):
        raise UnknownOutcome(f"Square names an amount that cannot be read: {told!r:.100}")
    return Money(minor, currency)


def key(id: str) -> str:
    """An id of ours as Square's idempotency key."""
    return fitting(id, KEY_MAX)


def reference(id: str) -> str:
    return fitting(id, REFERENCE_MAX)


def reason_of(refund: str) -> str:
    """Our id of a refund, where Square keeps it."""
    return f"{_REFUND}{refund}"


def refund_facts(told: Any) -> RefundFacts:
    reason = told.reason or ""
    own = reason.removeprefix(_REFUND) if reason.startswith(_REFUND) else ""
    return RefundFacts(told.id, money(told.amount_money), _REFUNDS.get(told.status or "", FAILED), own)


def dispute_facts(told: Any) -> DisputeFacts:
    state = _DISPUTES.get(str(told.state), OPEN)
    return DisputeFacts(told.id or told.dispute_id, money(told.amount_money), state, turn=told.version or 0)


def method(payment: Any) -> Method | None:
    if not payment.source_type:
        return None
    card = payment.card_details.card if payment.card_details else None
    kind = payment.source_type.lower()
    return kept(card, kind) if card is not None else Method("", kind)


def kept(card: Any, kind: str = "card") -> Method:
    return Method(card.id or "", kind, str(card.card_brand or "").lower(), card.last4 or "")
