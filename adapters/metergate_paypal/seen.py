"""What a payment is at PayPal, whatever it was asked for by.

An order is `approved` when its payer agreed, and nothing is ours before it is captured. Before that a payment
goes by the id of its order, afterwards by that of its capture, which PayPal keeps for longer.
"""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from metergate.provider_port import (
    CANCELED,
    FAILED,
    LOST,
    OPEN,
    PENDING,
    SUCCEEDED,
    Context,
    DisputeFacts,
    Misconfigured,
    Money,
    PaymentFacts,
    RefundFacts,
    UnknownOutcome,
)
from metergate_paypal.calls import Calls, Refused
from metergate_paypal.shapes import dispute_facts, link, method, money, refund_facts, told_of

STALE_US: Final = 86_400 * 10**6
"""After how long an order that PayPal does not know is one that has expired, and not one that is new."""
DISPUTES: Final = "/v1/customer/disputes"
_PAID: Final = ("COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED")
_BACK: Final = ("PARTIALLY_REFUNDED", "REFUNDED")


class Seen:
    def __init__(self, context: Context, calls: Calls, *, live: bool) -> None:
        self._live = live
        self._clock = context.clock
        self._notes = context.notes
        self._calls = calls

    async def by_id(self, id: str) -> PaymentFacts | None:
        order = await self.order(id)
        if order is not None:
            return await self.facts(order)
        capture = await self.capture(id)
        if capture is None:
            return await self.expired(id)
        order = await self.order(_order_of(capture))
        return await self.facts(order) if order is not None else await self._of_capture(capture)

    async def order(self, id: str) -> Any:
        return await self._calls.maybe(lambda paypal: paypal.orders.get_order({"id": id})) if id else None

    async def capture(self, id: str) -> Any:
        asked = {"capture_id": id}
        return await self._calls.maybe(lambda paypal: paypal.payments.get_captured_payment(asked))

    async def expired(self, id: str) -> PaymentFacts | None:
        """An order that nobody approved, and that PayPal has thrown away."""
        told = await self._notes.read(f"opened/{id}")
        at_us, minor, currency, order = told.split(" ", 3) if told else ("0", "0", "", "")
        if not told or self._clock() - int(at_us) < STALE_US:
            return None
        amount = Money(int(minor), currency)
        return PaymentFacts(id, order, CANCELED, amount, self._live, reason="The page of PayPal has expired.")

    async def known(self, id: str) -> Any:
        """The order of a payment that has to be there."""
        order = await self.order(id)
        if order is None:
            capture = await self.capture(id)
            order = await self.order(_order_of(capture)) if capture is not None else None
        if order is None:
            raise Misconfigured(f"PayPal does not know the order {id:.40} any more; make a new payment.")
        return order

    async def now(self, id: str) -> PaymentFacts:
        """What has become of a payment that is there."""
        return await self.facts(await self.known(id))

    async def is_canceled(self, order: str) -> bool:
        return await self._notes.read(f"canceled/{order}") is not None

    async def _disputes(self, capture: str) -> tuple[DisputeFacts, ...]:
        try:
            asked = f"{DISPUTES}?disputed_transaction_id={quote(capture, safe='')}&page_size=50"
            listed = (await self._calls.get(asked)).get("items") or []
            paths = [f"{DISPUTES}/{quote(each['dispute_id'], safe='')}" for each in listed]
            return tuple([dispute_facts(await self._calls.get(path)) for path in paths])
        except Refused as refused:
            if refused.status == 403:  # the app may not see disputes: `health` says so
                return ()
            raise

    # -- what a payment is ---------------------------------------------------------------------------------

    async def facts(self, order: Any) -> PaymentFacts:
        unit = order.purchase_units[0]
        known = PaymentFacts(
            id=order.id,
            order=told_of(unit, "custom_id") or "",
            state=PENDING,
            amount=money(unit.amount),
            live=self._live,
            method=method(order),
        )
        made = captures(order)
        if made:
            return await self._captured(known, made[0], told_of(told_of(unit, "payments"), "refunds") or ())
        held = first(order, "authorizations")
        if held is not None:
            return _authorised(known, held)
        if order.status == "VOIDED" or await self.is_canceled(order.id):
            return known._replace(state=CANCELED)
        url = link(order, "payer-action", "approve")
        return known._replace(approved=order.status == "APPROVED", url=url)

    async def _captured(self, known: PaymentFacts, capture: Any, refunds: Sequence[Any]) -> PaymentFacts:
        known = known._replace(id=capture.id, amount=money(capture.amount))
        if capture.status == "PENDING":
            why = told_of(told_of(capture, "status_details"), "reason") or "no reason is told"
            return known._replace(reason=f"PayPal holds it: {why}")
        if capture.status not in _PAID:
            return known._replace(state=FAILED, reason="PayPal could not take the money.")
        disputes = await self._disputes(capture.id)
        back = [refund_facts(each, known.order) for each in refunds]
        return known._replace(state=SUCCEEDED, refunds=_besides(back, disputes), disputes=disputes)

    async def _of_capture(self, capture: Any) -> PaymentFacts:
        """A payment whose order PayPal has forgotten; what went back of it is listed nowhere else."""
        if capture.status in _BACK:
            raise UnknownOutcome(f"PayPal no longer lists the refunds of {capture.id}: look at it there.")
        order = told_of(capture, "custom_id") or ""
        known = PaymentFacts(capture.id, order, PENDING, money(capture.amount), self._live)
        return await self._captured(known, capture, ())


def _authorised(known: PaymentFacts, held: Any) -> PaymentFacts:
    known = known._replace(amount=money(held.amount))
    if held.status in ("VOIDED", "EXPIRED"):
        return known._replace(state=CANCELED)
    if held.status == "DENIED":
        return known._replace(state=FAILED, reason="PayPal declined the authorisation.")
    return known._replace(capturable=held.status == "CREATED")


def _besides(refunds: Sequence[RefundFacts], disputes: Sequence[DisputeFacts]) -> tuple[RefundFacts, ...]:
    """Without those by which a dispute was paid: PayPal lists that money as a refund, too."""
    took = [each.amount for each in disputes if each.state in (OPEN, LOST)]
    left = []
    for refund in refunds:
        if not refund.refund and refund.amount in took:
            took.remove(refund.amount)
        else:
            left.append(refund)
    return tuple(left)


def captures(order: Any) -> list[Any]:
    """What was captured, money that came in before what was declined."""
    made = told_of(told_of(order.purchase_units[0], "payments"), "captures") or []
    return sorted(made, key=lambda each: (each.status not in _PAID, each.status != "PENDING"))


def first(order: Any, name: str) -> Any:
    found = told_of(told_of(order.purchase_units[0], "payments"), name) or [None]
    return found[0]


def _order_of(capture: Any) -> str:
    related = told_of(told_of(capture, "supplementary_data"), "related_ids")
    return told_of(related, "order_id") or link(capture, "up").rpartition("/")[2]
