"""The adapter: what metergate asks of a payment provider, asked of PayPal."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from paypalserversdk.models.capture_request import CaptureRequest
from paypalserversdk.models.refund_request import RefundRequest

from metergate.errors import ProviderError
from metergate.provider_port import (
    Checkout,
    Context,
    EventPage,
    Misconfigured,
    Money,
    Order,
    PaymentFacts,
    ProviderEvent,
    ProviderHealth,
    RefundFacts,
    UnknownOutcome,
    read_back,
)
from metergate_paypal.calls import Calls, Refused
from metergate_paypal.examined import examined
from metergate_paypal.news import Feed, read
from metergate_paypal.proof import Proof
from metergate_paypal.seen import DISPUTES, Seen, captures, first
from metergate_paypal.shapes import (
    key,
    link,
    money,
    objection,
    order_request,
    paypal_money,
    refund_facts,
    told_of,
)

FULL: Final = "return=representation"
_DONE_ALREADY: Final = (
    "ORDER_ALREADY_AUTHORIZED",
    "ORDER_ALREADY_CAPTURED",
    "AUTHORIZATION_ALREADY_CAPTURED",
)


class PayPalProvider:
    """Checkouts, lookups, approvals, captures, refunds, webhooks and a feed."""

    def __init__(self, context: Context, calls: Calls, proof: Proof) -> None:
        self._clock = context.clock
        self._notes = context.notes
        self._calls = calls
        self._proof = proof
        self._seen = Seen(context, calls, live=proof.live)
        self.live = proof.live
        self._url = context.webhook_url
        self._feed = Feed(calls, context.clock, live=proof.live)

    async def health(self) -> ProviderHealth:
        mode = f"{'live' if self.live else 'sandbox'} mode, at {self._calls.base}"
        try:
            await self._calls.get(f"{DISPUTES}?page_size=1")
        except Refused as refused:
            if refused.status == 403:
                missing = "disputes are not seen: allow the app the feature Customer Disputes"
                return ProviderHealth(ok=True, detail=f"{mode}; {missing}")
            return ProviderHealth(ok=False, detail=str(refused))
        except ProviderError as error:
            return ProviderHealth(ok=False, detail=str(error))
        return ProviderHealth(ok=True, detail=mode)

    async def examine(self) -> Sequence[str]:
        return await examined(self._calls, self._proof.webhook_ids, self._url)

    async def close(self) -> None:
        await self._calls.close()

    def objection(self, amount: Money) -> str:
        return objection(amount)

    async def open_checkout(self, order: Order) -> Checkout:
        known = await self._notes.read(f"order/{order.id}")
        made = await self._seen.order(known) if known else None
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
        return await self._seen.by_id(id)

    async def find_payment(self, order: str) -> PaymentFacts | None:
        """An order that has no note was never shown to anybody, so nobody can pay it."""
        known = await self._notes.read(f"order/{order}")
        return await self.fetch_payment(known) if known else None

    async def complete_payment(self, id: str) -> PaymentFacts:
        order = await self._seen.known(id)
        if order.status == "APPROVED" and not await self._seen.is_canceled(order.id):
            # An approval is completed once; after a decline the payer may approve another way to pay.
            once = key(f"{order.id}-{told_of(order, 'update_time') or ''}")
            asked = {"id": order.id, "paypal_request_id": once, "prefer": FULL}
            if order.intent == "AUTHORIZE":
                await self._do_once(lambda paypal: paypal.orders.authorize_order(asked))
            else:
                await self._do_once(lambda paypal: paypal.orders.capture_order(asked))
        return await read_back(self._seen.now(id))

    async def capture_payment(self, id: str, amount: Money | None, capture: str) -> PaymentFacts:
        order = await self._seen.known(id)
        held = first(order, "authorizations")
        if held is not None and not captures(order):
            body = CaptureRequest(amount=paypal_money(amount or money(held.amount)), final_capture=True)
            asked = {"authorization_id": held.id, "paypal_request_id": key(capture), "body": body}
            await self._do_once(lambda paypal: paypal.payments.capture_authorized_payment(asked))
        return await read_back(self._seen.now(id))

    async def cancel_payment(self, id: str) -> PaymentFacts:
        """What was authorised is let go. An order cannot be taken back, but we never complete it."""
        expired = await self._seen.expired(id) if await self._seen.order(id) is None else None
        if expired is not None:
            return expired
        order = await self._seen.known(id)
        await self._notes.write(f"canceled/{order.id}", "1")
        held = first(order, "authorizations")
        if held is not None and held.status == "CREATED":
            asked = {"authorization_id": held.id, "paypal_request_id": key(f"{held.id}-void")}
            await self._calls.do(lambda paypal: paypal.payments.void_payment(asked))
        return await read_back(self._seen.now(id))

    async def refund_payment(self, id: str, amount: Money, refund: str) -> RefundFacts:
        paid = await self._seen.capture(id)
        if paid is None:
            made = captures(await self._seen.known(id))
            if not made:
                raise Misconfigured(
                    f"Nothing was captured of the PayPal order {id:.40}; refund what was paid."
                )
            paid = made[0]
        body = RefundRequest(amount=paypal_money(amount), custom_id=refund)
        asked = {"capture_id": paid.id, "body": body, "paypal_request_id": key(refund), "prefer": FULL}
        made = await self._calls.do(lambda paypal: paypal.payments.refund_captured_payment(asked))
        return refund_facts(made, "")._replace(refund=refund)

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[ProviderEvent]:
        await self._proof.prove(headers, body)
        return [read(body, live=self.live)]

    async def events_after(self, cursor: str) -> EventPage:
        return await self._feed.after(cursor)

    async def _do_once(self, work: Any) -> None:
        try:
            await self._calls.do(work)
        except Refused as refused:
            if refused.issue not in _DONE_ALREADY:
                raise
