"""From what somebody wants to a row, and from the row to the provider's order: every time the same."""

import json
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from metergate.core.money import minor_unit, plain
from metergate.errors import InvalidInput
from metergate.ledger.accounts import Account
from metergate.ledger.payments import Payment
from metergate.provider_port import CREDITS, PENDING, PLAN, Money, Order, Payer


class Wanted(NamedTuple):
    """What an account is to pay for, and how."""

    account: str
    amount: Money
    kind: str = CREDITS
    credits: int = 0
    subject: str = ""
    description: str = ""
    every: str = ""
    method: str = ""
    """A method that the provider keeps; without one the payer gets a page."""
    capture: bool = True
    provider: str = ""
    success_url: str = ""
    cancel_url: str = ""
    options: Mapping[str, str] = {}
    source: str = ""
    """From where it was asked for; empty where nobody knows."""


def minor_of(nanos: int, currency: str) -> Money:
    """The amount in the currency's smallest unit; what is not whole in it cannot be paid."""
    unit = minor_unit(currency)
    if nanos % unit:
        raise InvalidInput(
            f"{plain(nanos, currency)} {currency} cannot be paid: pay in steps of {plain(unit, currency)}."
        )
    return Money(nanos // unit, currency)


def new_id() -> str:
    return f"pay_{secrets.token_hex(12)}"


def a_row(id: str, wanted: Wanted, provider: str, *, live: bool, now_us: int) -> Payment:
    terms = {
        "method": wanted.method,
        "capture": wanted.capture,
        "every": wanted.every,
        "success_url": wanted.success_url,
        "cancel_url": wanted.cancel_url,
        "options": dict(wanted.options),
        "source": wanted.source,
    }
    return Payment(
        seq=0,
        id=id,
        account=wanted.account,
        provider=provider,
        external_id=None,
        checkout_id=None,
        kind=wanted.kind,
        state=PENDING,
        live=live,
        currency=wanted.amount.currency,
        minor=wanted.amount.minor,
        paid_minor=0,
        credits=wanted.credits,
        subject=wanted.subject,
        description=wanted.description,
        customer="",
        method="",
        url="",
        details="{}",
        terms=json.dumps(terms, sort_keys=True),
        reason="",
        mismatch="",
        capturable=False,
        unknown=True,
        created_at_us=now_us,
        updated_at_us=now_us,
        look_at_us=now_us + 60 * 10**6,
    )


def alike(known: Payment, wanted: Payment) -> bool:
    """Whether a payment was asked for with the same terms."""
    return _asked(known) == _asked(wanted)


def _asked(row: Payment) -> tuple[Any, ...]:
    terms = json.loads(row.terms)
    terms.pop("source", None)  # whoever asks for the same again may be elsewhere
    minor, credits = (terms.pop("asked", None) or (row.minor, row.credits))[:2]
    return row.account, row.kind, row.currency, minor, credits, row.subject, row.description, terms


def grown(payment: Payment, minor: int) -> Mapping[str, Any]:
    """What changes of a payment that buys more than was asked for; what was asked for stays in its terms."""
    terms = json.loads(payment.terms)
    terms.setdefault("asked", [payment.minor, payment.credits])
    credits = payment.credits + (minor - payment.minor) * minor_unit(payment.currency)
    return {"minor": minor, "credits": credits, "terms": json.dumps(terms, sort_keys=True)}


def order_of(payment: Payment, account: Account) -> Order:
    terms = json.loads(payment.terms)
    minor = (terms.get("asked") or [payment.minor])[0]
    return Order(
        id=payment.id,
        payer=Payer(account.id, account.email, account.name),
        amount=Money(minor, payment.currency),
        kind=payment.kind,
        description=payment.description,
        customer=payment.customer,
        plan=payment.subject if payment.kind == PLAN else "",
        every=terms["every"],
        success_url=terms["success_url"],
        cancel_url=terms["cancel_url"],
        capture=terms["capture"],
        options=terms["options"],
    )


def method_of(payment: Payment) -> str:
    """The kept method that is to be charged; empty where the payer gets a page."""
    return str(json.loads(payment.terms)["method"])
