"""The adapter: what metergate asks of a payment provider, asked of PayPal.

An order is `approved` when its payer agreed, and nothing is ours before it is captured. Before that a payment
goes by the id of its order, afterwards by that of its capture, which PayPal keeps for longer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from paypalserversdk.models.capture_request import CaptureRequest
from paypalserversdk.models.refund_request import RefundRequest

from metergate.errors import ProviderError
from metergate.provider_port import (
    CANCELED,
    FAILED,
    LOST,
    OPEN,
    PENDING,
    SUCCEEDED,
    Checkout,
    Context,
    DisputeFacts,
    EventPage,
    Misconfigured,
    Money,
    Order,
    PaymentFacts,
    ProviderEvent,
    ProviderHealth,
    RefundFacts,
    UnknownOutcome,
)
from metergate_paypal.calls import Calls, Refused
from metergate_paypal.news import Feed, read
from metergate_paypal.proof import Proof
from metergate_paypal.shapes import (
    dispute_facts,
    key,
    link,
    method,
    money,
    objection,
    order_request,
    paypal_money,
    refund_facts,
    told_of,
)

FULL: Final = "return=representation"
STALE_US: Final = 86_400 * 10**6
"""After how long an order that PayPal does not know is one that has expired, and not one that is new."""
_PAID: Final = ("COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED")
_BACK: Final = ("PARTIALLY_REFUNDED", "REFUNDED")
_DONE_ALREADY: Final = (
    "ORDER_ALREADY_AUTHORIZED",
    "ORDER_ALREADY_CAPTURED",
    "AUTHORIZATION_ALREADY_CAPTURED",
)
_DISPUTES: Final = "/v1/customer/disputes"


class PayPalProvider:
    """Checkouts, lookups, approvals, captures, refunds, webhooks and a feed."""

    def __init__(self, context: Context, calls: Calls, proof: Proof) -> None:
        self._clock = context.clock
        self._notes = context.notes
        self._calls = calls
        self._proof = proof
        self.live = proof.live
        self._feed = Feed(calls, context.clock, live=proof.live)

    async def health(self) -> ProviderHealth:
        mode = f"{'live' if self.live else 'sandbox'} mode, at {self._calls.base}"
        try:
            await self._calls.get(f"{_DISPUTES}?page_size=1")
        except Refused as refused:
            if refused.status == 403:
                missing = "disputes are not seen: allow the app the feature Customer Disputes"
                return ProviderHealth(ok=True, detail=f"{mode}; {missing}")
            return ProviderHealth(ok=False, detail=str(refused))
        except ProviderError as error:
            return ProviderHealth(ok=False, detail=str(error))
        return ProviderHealth(ok=True, detail=mode)

    async def close(self) -> None:
        await self._calls.close()

    def objection(self, amount: Money) -> str:
        return objection(amount)

    async def open_checkout(self, order: Order) -> Checkout:
        known = await self._notes.read(f"order/{order.id}")
        made = await self._order(known) if known else None
        if made is None:
            asked = {"body": order_request(order), "paypal_request_id": key(order.id), "prefer": FULL}
            made = await self._calls.do(lambda paypal: paypal.orders.create_order(asked))
            if not told_of(made, "id"):
                raise UnknownOutcome("What PayPal answered is no order.")
            # Who dies before these lines asks again: nobody has seen the page of an order without a note.
            terms = f"{self._clock()} {order.amount.minor} {order.amount.currency} {order.id}"
            await self._notes.write(f"opened/{made.id}", terms)
            await self._notes.write(f"order/{order.id}", made.id)
        return Checkout(made.id, link(made, "payer-action", "approve"), details={"paypal_order": made.id})

    async def fetch_payment(self, id: str) -> PaymentFacts | None:
        order = await self._order(id)
        if order is not None:
            return await self._facts(order)
        capture = await self._capture(id)
        if capture is None:
            return await self._expired(id)
        order = await self._order(_order_of(capture))
        return await self._facts(order) if order is not None else await self._of_capture(capture)

    async def find_payment(self, order: str) -> PaymentFacts | None:
        """An order that has no note was never shown to anybody, so nobody can pay it."""
        known = await self._notes.read(f"order/{order}")
        return await self.fetch_payment(known) if known else None

    async def complete_payment(self, id: str) -> PaymentFacts:
        order = await self._known(id)
        if order.status == "APPROVED" and not await self._is_canceled(order.id):
            # An approval is completed once; after a decline the payer may approve another way to pay.
            once = key(f"{order.id}-{told_of(order, 'update_time') or ''}")
            asked = {"id": order.id, "paypal_request_id": once, "prefer": FULL}
            if order.intent == "AUTHORIZE":
                await self._do_once(lambda paypal: paypal.orders.authorize_order(asked))
            else:
                await self._do_once(lambda paypal: paypal.orders.capture_order(asked))
        return await self._facts(await self._known(id))

    async def capture_payment(self, id: str, amount: Money | None, capture: str) -> PaymentFacts:
        order = await self._known(id)
        held = _first(order, "authorizations")
        if held is not None and not _captures(order):
            body = CaptureRequest(amount=paypal_money(amount or money(held.amount)), final_capture=True)
            asked = {"authorization_id": held.id, "paypal_request_id": key(capture), "body": body}
            await self._do_once(lambda paypal: paypal.payments.capture_authorized_payment(asked))
        return await self._facts(await self._known(id))

    async def cancel_payment(self, id: str) -> PaymentFacts:
        """What was authorised is let go. An order cannot be taken back, but we never complete it."""
        expired = await self._expired(id) if await self._order(id) is None else None
        if expired is not None:
            return expired
        order = await self._known(id)
        await self._notes.write(f"canceled/{order.id}", "1")
        held = _first(order, "authorizations")
        if held is not None and held.status == "CREATED":
            asked = {"authorization_id": held.id, "paypal_request_id": key(f"{held.id}-void")}
            await self._calls.do(lambda paypal: paypal.payments.void_payment(asked))
        return await self._facts(await self._known(id))

    async def refund_payment(self, id: str, amount: Money, refund: str) -> RefundFacts:
        paid = await self._capture(id)
        if paid is None:
            captures = _captures(await self._known(id))
            if not captures:
                raise Misconfigured(
                    f"Nothing was captured of the PayPal order {id:.40}; refund what was paid."
                )
            paid = captures[0]
        body = RefundRequest(amount=paypal_money(amount), custom_id=refund)
        asked = {"capture_id": paid.id, "body": body, "paypal_request_id": key(refund), "prefer": FULL}
        made = await self._calls.do(lambda paypal: paypal.payments.refund_captured_payment(asked))
        return refund_facts(made, "")._replace(refund=refund)

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[ProviderEvent]:
        await self._proof.prove(headers, body)
        return [read(body, live=self.live)]

    async def events_after(self, cursor: str) -> EventPage:
        return await self._feed.after(cursor)

    # -- asking --------------------------------------------------------------------------------------------

    async def _order(self, id: str) -> Any:
        return await self._calls.maybe(lambda paypal: paypal.orders.get_order({"id": id})) if id else None

    async def _capture(self, id: str) -> Any:
        asked = {"capture_id": id}
        return await self._calls.maybe(lambda paypal: paypal.payments.get_captured_payment(asked))

    async def _expired(self, id: str) -> PaymentFacts | None:
        """An order that nobody approved, and that PayPal has thrown away."""
        told = await self._notes.read(f"opened/{id}")
        at_us, minor, currency, order = told.split(" ", 3) if told else ("0", "0", "", "")
        if not told or self._clock() - int(at_us) < STALE_US:
            return None
        amount = Money(int(minor), currency)
        return PaymentFacts(id, order, CANCELED, amount, self.live, reason="The page of PayPal has expired.")

    async def _known(self, id: str) -> Any:
        """The order of a payment that has to be there."""
        order = await self._order(id)
        if order is None:
            capture = await self._capture(id)
            order = await self._order(_order_of(capture)) if capture is not None else None
        if order is None:
            raise Misconfigured(f"PayPal does not know the order {id:.40} any more; make a new payment.")
        return order

    async def _do_once(self, work: Any) -> None:
        try:
            await self._calls.do(work)
        except Refused as refused:
            if refused.issue not in _DONE_ALREADY:
                raise

    async def _is_canceled(self, order: str) -> bool:
        return await self._notes.read(f"canceled/{order}") is not None

    async def _disputes(self, capture: str) -> tuple[DisputeFacts, ...]:
        try:
            asked = f"{_DISPUTES}?disputed_transaction_id={quote(capture, safe='')}&page_size=50"
            listed = (await self._calls.get(asked)).get("items") or []
            paths = [f"{_DISPUTES}/{quote(each['dispute_id'], safe='')}" for each in listed]
            return tuple([dispute_facts(await self._calls.get(path)) for path in paths])
        except Refused as refused:
            if refused.status == 403:  # the app may not see disputes: `health` says so
                return ()
            raise

    # -- what a payment is ---------------------------------------------------------------------------------

    async def _facts(self, order: Any) -> PaymentFacts:
        unit = order.purchase_units[0]
        known = PaymentFacts(
            id=order.id,
            order=told_of(unit, "custom_id") or "",
            state=PENDING,
            amount=money(unit.amount),
            live=self.live,
            method=method(order),
        )
        captures = _captures(order)
        if captures:
            return await self._captured(
                known, captures[0], told_of(told_of(unit, "payments"), "refunds") or ()
            )
        held = _first(order, "authorizations")
        if held is not None:
            return _authorised(known, held)
        if order.status == "VOIDED" or await self._is_canceled(order.id):
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
        known = PaymentFacts(capture.id, order, PENDING, money(capture.amount), self.live)
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


def _captures(order: Any) -> list[Any]:
    """What was captured, money that came in before what was declined."""
    made = told_of(told_of(order.purchase_units[0], "payments"), "captures") or []
    return sorted(made, key=lambda each: (each.status not in _PAID, each.status != "PENDING"))


def _first(order: Any, name: str) -> Any:
    found = told_of(told_of(order.purchase_units[0], "payments"), name) or [None]
    return found[0]


def _order_of(capture: Any) -> str:
    related = told_of(told_of(capture, "supplementary_data"), "related_ids")
    return told_of(related, "order_id") or link(capture, "up").rpartition("/")[2]
