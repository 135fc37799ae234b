"""The adapter: what metergate asks of a payment provider, asked of Adyen's Checkout API."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from metergate.core.money import EXPONENTS
from metergate.errors import InvalidInput, ProviderError
from metergate.provider_port import (
    CANCELED,
    PENDING,
    Checkout,
    Money,
    Notes,
    Order,
    PaymentFacts,
    ProviderEvent,
    ProviderHealth,
    RefundFacts,
    UnknownOutcome,
    fitting,
)
from metergate_adyen.calls import Calls
from metergate_adyen.news import AUTHORISED, FAILED, ORDER, REFUND, Reader

REFERENCE_MAX: Final = 80
PSP_LENGTH: Final = 16
ODD_UNITS: Final = frozenset({"CLP", "CVE", "IDR", "ISK"})
"""Adyen's smallest unit of these is another than ISO 4217's: a hundred times as much would be paid."""


class AdyenProvider:
    """Checkouts, captures, refunds and webhooks. There is nothing that could be asked for a payment."""

    def __init__(self, calls: Calls, reader: Reader, notes: Notes, *, live: bool) -> None:
        self.live = live
        self._calls = calls
        self._reader = reader
        self._notes = notes

    async def health(self) -> ProviderHealth:
        try:
            await self._calls(self._calls.payments.payment_methods, {"merchantAccount": self._calls.merchant})
        except ProviderError as error:
            return ProviderHealth(ok=False, detail=str(error))
        return ProviderHealth(ok=True, detail=f"merchant account {self._calls.merchant}")

    async def close(self) -> None: ...

    def objection(self, amount: Money) -> str:
        if amount.currency not in EXPONENTS or amount.currency in ODD_UNITS:
            return f"Payments in {amount.currency} are not taken over Adyen: choose another currency."
        return "" if amount.minor > 0 else "Pay an amount above zero."

    async def open_checkout(self, order: Order) -> Checkout:
        """A payment link: a page of Adyen's that is paid once."""
        reference = named(order.id)
        if reference != order.id or not order.capture:
            known = {"id": order.id, "capture": order.capture}
            await self._notes.write(ORDER + reference, json.dumps(known))
        asked = _link(order, reference, self._calls.merchant)
        made = await self._calls(self._calls.links.payment_links, asked, key=_key("order", order.id))
        return Checkout(_text(made, "id"), _text(made, "url"), order.expires_at_us)

    async def capture_payment(self, id: str, amount: Money | None, capture: str) -> PaymentFacts:
        """Asked for and received, which is not done: the payment is as it was until the news of it comes."""
        authorised, reference = await self._authorised(id)
        taken = amount or authorised
        asked = self._change(reference, amount=_amount(taken))
        # The same key again would only be told that the one which failed was received.
        failed = await self._notes.read(FAILED + id) or ""
        key = _key("capture", f"{capture} {failed}")
        await self._calls(self._calls.changes.capture_authorised_payment, asked, id, key=key)
        return PaymentFacts(id, "", PENDING, taken, self.live, capturable=True)

    async def cancel_payment(self, id: str) -> PaymentFacts:
        if len(id) != PSP_LENGTH:
            return await self._close(id)
        authorised, reference = await self._authorised(id)
        call = self._calls.changes.cancel_authorised_payment_by_psp_reference
        await self._calls(call, self._change(reference), id, key=_key("cancel", id))
        return PaymentFacts(id, "", PENDING, authorised, self.live, capturable=True)

    async def _close(self, link: str) -> PaymentFacts:
        """Close a page that nobody has paid; it may have closed by itself."""
        told = await self._calls(self._calls.links.get_payment_link, link)
        if told.get("status") == "active":
            told = await self._calls(self._calls.links.update_payment_link, {"status": "expired"}, link)
        if told.get("status") != "expired":
            raise InvalidInput("Somebody pays at this link: wait for the news of it, and refund it then.")
        return PaymentFacts(link, "", CANCELED, _money(told), self.live)

    async def refund_payment(self, id: str, amount: Money, refund: str) -> RefundFacts:
        await self._notes.write(REFUND + named(refund), refund)
        asked = self._change(named(refund), amount=_amount(amount))
        call = self._calls.changes.refund_captured_payment
        made = await self._calls(call, asked, id, key=_key("refund", refund))
        return RefundFacts(_text(made, "pspReference"), amount, PENDING, refund)

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[ProviderEvent]:
        return await self._reader.read(body)

    def _change(self, reference: str, **more: Any) -> dict[str, Any]:
        return {"merchantAccount": self._calls.merchant, "reference": reference, **more}

    async def _authorised(self, id: str) -> tuple[Money, str]:
        """How much was authorised, as the news of it said, and our reference of it."""
        noted = await self._notes.read(AUTHORISED + id)
        if noted is None:
            raise InvalidInput(f"Adyen has not said yet that {id:.40} is authorised.")
        known = json.loads(noted)
        return Money(*known["amount"]), known["reference"]


def named(id: str) -> str:
    """Our id as Adyen's reference, which is shorter than ours may be."""
    return fitting(id, REFERENCE_MAX)


def _key(what: str, id: str) -> str:
    """At most 64 characters, and another one for another kind of request."""
    return hashlib.sha256(f"{what}:{id}".encode()).hexdigest()


def _link(order: Order, reference: str, merchant: str) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "merchantAccount": merchant,
        "reference": reference,
        "amount": _amount(order.amount),
        "description": order.description[:280],
        "returnUrl": order.success_url,
        "shopperEmail": order.payer.email,
        "shopperReference": order.payer.account if len(order.payer.account) > 2 else "",
        "expiresAt": _instant(order.expires_at_us) if order.expires_at_us else "",
    }
    how = {"captureDelayHours": 0} if order.capture else {"manualCapture": True}
    return {name: value for name, value in asked.items() if value} | how


def _amount(money: Money) -> dict[str, Any]:
    return {"value": money.minor, "currency": money.currency}


def _money(told: Mapping[str, Any]) -> Money:
    try:
        return Money(int(told["amount"]["value"]), str(told["amount"]["currency"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownOutcome("Adyen's answer names no amount.") from error


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not value:
        raise UnknownOutcome(f"Adyen's answer has no {name}.")
    return value


def _instant(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 10**6, UTC).isoformat()
