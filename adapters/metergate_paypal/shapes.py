"""Between our words and PayPal's: money as its decimal text, our orders as its requests, and its answers."""

import re
from typing import Any, Final

from paypalserversdk.models.amount_with_breakdown import AmountWithBreakdown
from paypalserversdk.models.money import Money as PayPalMoney
from paypalserversdk.models.order_request import OrderRequest
from paypalserversdk.models.payment_source import PaymentSource
from paypalserversdk.models.paypal_wallet import PaypalWallet
from paypalserversdk.models.paypal_wallet_experience_context import PaypalWalletExperienceContext
from paypalserversdk.models.purchase_unit_request import PurchaseUnitRequest
from paypalserversdk.models.venmo_wallet_experience_context import VenmoWalletExperienceContext
from paypalserversdk.models.venmo_wallet_request import VenmoWalletRequest

from metergate.core.money import exponent
from metergate.errors import InvalidInput
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
    Order,
    RefundFacts,
    UnknownOutcome,
    fitting,
)

CURRENCIES: Final = frozenset({
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "JPY", "MXN", "MYR",
    "NOK", "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "TWD", "USD",
})  # fmt: skip
_WHOLE: Final = frozenset({"HUF", "JPY", "TWD"})
"""PayPal takes no decimals of these, whatever ISO 4217 says."""
KEY_MAX: Final = 108
VENMO: Final = "venmo"

_AMOUNT = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,4}))?")
REFUNDS: Final = {"COMPLETED": SUCCEEDED, "PENDING": PENDING, "FAILED": FAILED, "CANCELLED": FAILED}
# How a dispute ended for us. Where PayPal pays the buyer out of its own pocket the money stays ours.
_ENDED: Final = {"RESOLVED_BUYER_FAVOUR": LOST, "RESOLVED_BUYER_FAVOR": LOST, "ACCEPTED": LOST}


def objection(amount: Money) -> str:
    if amount.currency not in CURRENCIES:
        return f"PayPal takes no {amount.currency:.10}; pay in another currency."
    if amount.minor <= 0:
        return "Pay an amount above zero."
    if amount.minor % _unit(amount.currency):
        return f"PayPal takes whole {amount.currency} only; round the amount."
    return ""


def value(amount: Money) -> str:
    """The amount as PayPal writes it: 1999 cents are 19.99."""
    problem = objection(amount)
    if problem:
        raise InvalidInput(problem)
    whole, fraction = divmod(amount.minor, 10 ** exponent(amount.currency))
    return str(whole) if amount.currency in _WHOLE else f"{whole}.{fraction:02d}"


def _unit(currency: str) -> int:
    """How many of the smallest units PayPal's smallest one has."""
    return int(10 ** exponent(currency)) if currency in _WHOLE else 1


def paypal_money(amount: Money) -> PayPalMoney:
    return PayPalMoney(amount.currency, value(amount))


def money(told: Any) -> Money:
    """What PayPal writes, in the smallest unit; exactly, or not at all."""
    currency, text = str(told.currency_code), str(told.value)
    found = _AMOUNT.fullmatch(text)
    if found is None or currency not in CURRENCIES:
        raise UnknownOutcome(f"PayPal names an amount that cannot be read: {text!r:.40} {currency:.10}")
    places = exponent(currency)
    fraction = (found[2] or "").ljust(places, "0")
    if fraction[places:].strip("0"):
        raise UnknownOutcome(f"PayPal names a part of the smallest unit: {text:.40} {currency}")
    return Money(int(found[1] + fraction[:places]), currency)


def key(id: str) -> str:
    """An id of ours as PayPal's idempotency key."""
    return fitting(id, KEY_MAX)


def order_request(order: Order) -> OrderRequest:
    unit = PurchaseUnitRequest(
        amount=AmountWithBreakdown(order.amount.currency, value(order.amount)),
        custom_id=order.id,
        **({"description": order.description[:127]} if order.description else {}),
    )
    intent = "CAPTURE" if order.capture else "AUTHORIZE"
    return OrderRequest(intent=intent, purchase_units=[unit], payment_source=_source(order))


def _source(order: Order) -> PaymentSource:
    manners = {"shipping_preference": "NO_SHIPPING", "user_action": "PAY_NOW"}
    wallet = order.options.get("wallet", "paypal")
    if wallet not in (VENMO, "paypal"):
        raise InvalidInput(f"PayPal has no wallet {wallet!r:.40}; leave it out, or take venmo.")
    if wallet == VENMO:
        if order.amount.currency != "USD":
            raise InvalidInput("Who pays with Venmo pays in USD.")
        venmo = VenmoWalletRequest(experience_context=VenmoWalletExperienceContext(**manners))
        return PaymentSource(venmo=venmo)
    addresses = {"return_url": order.success_url, "cancel_url": order.cancel_url}
    given = {name: url for name, url in addresses.items() if url}
    # Payments that take days to come in would be `pending` for as long.
    at_once = {"payment_method_preference": "IMMEDIATE_PAYMENT_REQUIRED"}
    context = PaypalWalletExperienceContext(**manners, **at_once, **given)
    return PaymentSource(paypal=PaypalWallet(experience_context=context))


def link(told: Any, *names: str) -> str:
    """The address of the first of these links."""
    links = {each.rel: each.href for each in told_of(told, "links") or ()}
    return next((str(links[name]) for name in names if name in links), "")


def told_of(told: Any, name: str) -> Any:
    """A field of the SDK's model: what PayPal did not send has no attribute there."""
    return getattr(told, name, None)


def refund_facts(told: Any, payment: str) -> RefundFacts:
    """A refund; one that was made elsewhere carries the id of its payment, or none at all."""
    own = told_of(told, "custom_id") or ""
    state = REFUNDS.get(told_of(told, "status") or "", PENDING)
    return RefundFacts(told.id, money(told.amount), state, "" if own == payment else own)


def dispute_facts(told: Any) -> DisputeFacts:
    """From plain JSON: the SDK knows no disputes."""
    outcome = told.get("dispute_outcome") or {}
    ended = told.get("status") == "RESOLVED"
    state = _ENDED.get(outcome.get("outcome_code", ""), WON) if ended else OPEN
    back = outcome.get("amount_refunded") if state == LOST else None
    amount = back or told["dispute_amount"]
    return DisputeFacts(
        told["dispute_id"], money(PayPalMoney(amount["currency_code"], amount["value"])), state
    )


def method(order: Any) -> Method | None:
    source = told_of(order, "payment_source")
    card = told_of(source, "card")
    if card is not None:
        brand, last4 = told_of(card, "brand") or "", told_of(card, "last_digits") or ""
        return Method("", "card", brand.lower(), last4)
    named = [each for each in (VENMO, "paypal") if told_of(source, each) is not None]
    return Method("", named[0]) if named else None
