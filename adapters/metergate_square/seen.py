"""What a payment is at Square, whatever it was asked for by.

A checkout goes by the id of its order until it is paid, and by that of its payment afterwards. What was
charged to a card on file has no order of ours: its payment carries our id.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from metergate.provider_port import (
    CANCELED,
    FAILED,
    PENDING,
    SUCCEEDED,
    DisputeFacts,
    Misconfigured,
    PaymentFacts,
    RefundFacts,
)
from metergate_square.calls import ONCE, Calls, Refused
from metergate_square.shapes import OURS, dispute_facts, method, money, reference, refund_facts

_RANK: Final = ("COMPLETED", "APPROVED", "PENDING")
_SKEW: Final = timedelta(minutes=10)
"""How far Square's clock may be from ours."""


class Seen:
    def __init__(self, calls: Calls, *, live: bool) -> None:
        self._live = live
        self._calls = calls
        self._square = calls.square

    async def by_id(self, id: str) -> PaymentFacts | None:
        """By the id of a payment, or of its order."""
        told = await self._calls.maybe(self._square.payments.get(id, request_options=ONCE))
        if told is not None and told.payment is not None:
            return await self.of_payment(told.payment)
        order = await self._order(id)
        return await self._of_order(order) if order is not None else None

    async def payment(self, id: str) -> Any:
        """The payment itself, which has to be there, by its id or that of its order."""
        told = await self._calls.maybe(self._square.payments.get(id, request_options=ONCE))
        if told is not None:
            return told.payment
        order = await self._order(id)
        made = await self._payments(order) if order is not None else []
        if not made:
            raise Misconfigured(f"Square knows no payment {id:.80} that anybody has made.")
        return made[0]

    async def now(self, id: str) -> PaymentFacts:
        """What has become of a payment that is there."""
        found = await self.by_id(id)
        if found is None:
            raise Misconfigured(f"Square does not know the payment {id:.80}.")
        return found

    async def sees_disputes(self) -> bool:
        return await self._all_disputes() is not None

    async def charged(self, order: str, since_us: int, place: str) -> PaymentFacts | None:
        """What was charged since then for an order of ours, if anything was."""
        since = (datetime.fromtimestamp(since_us / 10**6, UTC) - _SKEW).isoformat()
        listed = self._square.payments.list(
            begin_time=since, sort_order="ASC", location_id=place, request_options=ONCE
        )
        for each in await self._calls.listed(listed):
            if each.reference_id == reference(order) and each.note == order:
                return await self.of_payment(each)
        return None

    async def of_payment(self, payment: Any) -> PaymentFacts:
        order = await self._order(payment.order_id) if payment.order_id else None
        if order is not None and OURS in (order.metadata or {}):
            return await self._of_order(order, payment)
        note = payment.note or ""
        facts = await self._facts(payment, note if payment.reference_id == reference(note) else "")
        return facts._replace(customer=payment.customer_id or "", capturable=payment.status == "APPROVED")

    async def _of_order(self, order: Any, told: Any = None) -> PaymentFacts:
        """A checkout: whoever was declined on its page may try again there."""
        own = (order.metadata or {}).get(OURS) or ""
        made = await self._payments(order)
        if made or (told is not None and told.status in _RANK):
            return await self._facts(made[0] if made else told, own)
        state = CANCELED if order.state == "CANCELED" else PENDING
        return PaymentFacts(order.id, own, state, money(order.total_money), self._live)

    async def _facts(self, payment: Any, own: str) -> PaymentFacts:
        known = PaymentFacts(
            id=payment.id,
            order=own,
            state=PENDING,
            amount=money(payment.amount_money),
            live=self._live,
            method=method(payment),
        )
        if payment.status == "CANCELED":
            return known._replace(state=CANCELED)
        if payment.status == "FAILED":
            return known._replace(state=FAILED, reason="The card was declined.")
        if payment.status != "COMPLETED":
            return known
        refunds = [await self._refund(each) for each in payment.refund_ids or ()]
        disputes = await self._disputes(payment.id)
        return known._replace(state=SUCCEEDED, refunds=tuple(refunds), disputes=disputes)

    # -- asking --------------------------------------------------------------------------------------------

    async def _order(self, id: str) -> Any:
        told = await self._calls.maybe(self._square.orders.get(id, request_options=ONCE))
        return None if told is None else told.order

    async def _payments(self, order: Any) -> list[Any]:
        """What was paid for an order: money that came in first, and without what came to nothing."""
        ids = [each.payment_id for each in order.tenders or () if each.payment_id]
        asked = [self._square.payments.get(id, request_options=ONCE) for id in ids]
        made = [await self._calls.part(each, "payment") for each in asked]
        came = [each for each in made if each.status in _RANK]
        return sorted(came, key=lambda each: _RANK.index(each.status))

    async def _refund(self, id: str) -> RefundFacts:
        asked = self._square.refunds.get(id, request_options=ONCE)
        return refund_facts(await self._calls.part(asked, "refund"))

    async def _disputes(self, payment: str) -> tuple[DisputeFacts, ...]:
        """Square lists the disputes of a seller, and not of a payment: there are few."""
        about = [each for each in await self._all_disputes() or () if each.disputed_payment]
        return tuple([dispute_facts(each) for each in about if each.disputed_payment.payment_id == payment])

    async def _all_disputes(self) -> list[Any] | None:
        """None where the application may not see them: `health` says so."""
        try:
            return await self._calls.listed(self._square.disputes.list(request_options=ONCE))
        except Refused as refused:
            if refused.status == 403:
                return None
            raise
