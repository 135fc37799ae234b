"""The adapter: what metergate asks of a payment provider, asked of Square."""

import hashlib
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from square.requests.order import OrderParams

from metergate.errors import InvalidInput, ProviderError
from metergate.provider_port import (
    FAILED,
    Checkout,
    Context,
    CustomerFacts,
    Declined,
    EventPage,
    Method,
    Money,
    Order,
    Payer,
    PaymentFacts,
    ProviderEvent,
    ProviderHealth,
    RefundFacts,
    read_back,
)
from metergate_square.calls import ONCE, Calls
from metergate_square.examined import examined
from metergate_square.feed import Feed
from metergate_square.news import News
from metergate_square.seen import Seen
from metergate_square.shapes import (
    OURS,
    kept,
    key,
    money,
    objection,
    reason_of,
    reference,
    refund_facts,
    square_money,
)

BLIND: Final = "disputes are not seen: allow the application DISPUTES_READ"


class SquareProvider:
    """Customers, checkouts, charges, lookups, captures, refunds, methods, webhooks and a feed."""

    def __init__(self, context: Context, calls: Calls, news: News, *, live: bool) -> None:
        self.live = live
        self._seen = Seen(calls, live=live)
        self._clock = context.clock
        self._notes = context.notes
        self._calls = calls
        self._square = calls.square
        self._news = news
        self._feed = Feed(calls, context.clock, live=live)
        self._location = context.setting("SQUARE_LOCATION_ID")

    async def health(self) -> ProviderHealth:
        try:
            place = await self._calls.part(self._at(self._location or "main"), "location")
            seen = await self._seen.sees_disputes()
        except ProviderError as error:
            return ProviderHealth(ok=False, detail=str(error))
        mode = "production" if self.live else "sandbox"
        detail = f"{mode} mode, {place.name or place.id}, at {self._calls.base}"
        return ProviderHealth(ok=True, detail=detail if seen else f"{detail}; {BLIND}")

    async def examine(self) -> Sequence[str]:
        return await examined(self._calls, self._news.address, self._news.keys)

    async def close(self) -> None:
        await self._calls.close()

    def objection(self, amount: Money) -> str:
        return objection(amount)

    # -- customers and their cards -------------------------------------------------------------------------

    async def create_customer(self, payer: Payer) -> CustomerFacts:
        customers = self._square.customers
        wanted: Any = {"filter": {"reference_id": {"exact": payer.account}}}
        found = await self._calls.do(customers.search(query=wanted, limit=1, request_options=ONCE))
        if found.customers:
            return _customer(found.customers[0])
        once = hashlib.sha256("\0".join(payer).encode()).hexdigest()[:45]
        given = {"email_address": payer.email, "given_name": payer.name}
        asked: Any = {name: value for name, value in given.items() if value}
        made = customers.create(
            idempotency_key=once, reference_id=payer.account, **asked, request_options=ONCE
        )
        return _customer(await self._calls.part(made, "customer"))

    async def fetch_customer(self, id: str) -> CustomerFacts | None:
        told = await self._calls.maybe(self._square.customers.get(id, request_options=ONCE))
        return None if told is None else _customer(told.customer)

    async def list_methods(self, customer: str) -> Sequence[Method]:
        listed = self._square.cards.list(customer_id=customer, request_options=ONCE)
        return [kept(each) for each in await self._calls.listed(listed)]

    async def attach_method(self, customer: str, token: str) -> Method:
        once = hashlib.sha256(f"{customer}\0{token}".encode()).hexdigest()[:45]
        asked = self._square.cards.create(
            idempotency_key=once, source_id=token, card={"customer_id": customer}, request_options=ONCE
        )
        return kept(await self._calls.part(asked, "card"))

    async def detach_method(self, customer: str, method: str) -> None:
        await self._calls.do(self._square.cards.disable(method, request_options=ONCE))

    # -- paying --------------------------------------------------------------------------------------------

    async def open_checkout(self, order: Order) -> Checkout:
        if not order.capture:
            raise InvalidInput("Square's page takes the money at once: charge a kept card to only authorise.")
        known = await self._notes.read(f"link/{order.id}")
        told = await self._calls.maybe(self._calls.links.get(known, request_options=ONCE)) if known else None
        link = told.payment_link if told is not None else None
        if link is None:
            link = await self._new_link(order)
            # Who dies before these lines asks again: nobody has seen the page of a link without a note.
            await self._notes.write(f"of/{link.order_id}", link.id)
            await self._notes.write(f"order/{order.id}", link.order_id)
            await self._notes.write(f"link/{order.id}", link.id)
        return Checkout(link.order_id or "", link.url or "")

    async def charge(self, order: Order, method: str) -> PaymentFacts:
        await self._notes.take(f"charged/{order.id}", str(self._clock()))
        asked = self._square.payments.create(
            source_id=method,
            idempotency_key=key(order.id),
            amount_money=square_money(order.amount),
            customer_id=order.customer,
            location_id=await self._place(),
            reference_id=reference(order.id),
            note=order.id,
            autocomplete=order.capture,
            request_options=ONCE,
        )
        made = await self._calls.part(asked, "payment")
        facts = await read_back(self._seen.of_payment(made))
        if facts.state == FAILED:
            raise Declined(f"Square declined the payment: {facts.reason}")
        return facts

    async def fetch_payment(self, id: str) -> PaymentFacts | None:
        return await self._seen.by_id(id)

    async def find_payment(self, order: str) -> PaymentFacts | None:
        """A link without a note was never shown to anybody; a charge is looked for where it was made."""
        known = await self._notes.read(f"order/{order}")
        if known:
            return await self._seen.by_id(known)
        charged = await self._notes.read(f"charged/{order}")
        return await self._seen.charged(order, int(charged), await self._place()) if charged else None

    async def capture_payment(self, id: str, amount: Money | None, capture: str) -> PaymentFacts:
        payment = await self._seen.payment(id)
        if payment.status == "APPROVED":
            if amount is not None and amount != money(payment.amount_money):
                part: Any = {"amount_money": square_money(amount), "version_token": payment.version_token}
                await self._calls.do(
                    self._square.payments.update(
                        payment.id, idempotency_key=key(capture), payment=part, request_options=ONCE
                    )
                )
            await self._calls.do(self._square.payments.complete(payment.id, request_options=ONCE))
        return await read_back(self._seen.now(payment.id))

    async def cancel_payment(self, id: str) -> PaymentFacts:
        link = await self._notes.read(f"of/{id}")
        if link:
            await self._calls.maybe(self._calls.links.delete(link, request_options=ONCE))
        else:
            payment = await self._seen.payment(id)
            if payment.status == "APPROVED":
                await self._calls.do(self._square.payments.cancel(payment.id, request_options=ONCE))
        return await read_back(self._seen.now(id))

    async def refund_payment(self, id: str, amount: Money, refund: str) -> RefundFacts:
        paid = await self._seen.payment(id)
        asked = self._square.refunds.refund_payment(
            idempotency_key=key(refund),
            payment_id=paid.id,
            amount_money=square_money(amount),
            reason=reason_of(refund),
            request_options=ONCE,
        )
        return refund_facts(await self._calls.part(asked, "refund"))

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[ProviderEvent]:
        return [self._news.read(headers, body)]

    async def events_after(self, cursor: str) -> EventPage:
        return await self._feed.after(cursor)

    async def _place(self) -> str:
        """The location of the seller, which Square wants to have named."""
        if not self._location:
            self._location = str((await self._calls.part(self._at("main"), "location")).id)
        return self._location

    def _at(self, location: str) -> Awaitable[Any]:
        asked: Awaitable[Any] = self._square.locations.get(location, request_options=ONCE)
        return asked

    async def _new_link(self, order: Order) -> Any:
        line: Any = {
            "name": order.description[:500] or "Credits",
            "quantity": "1",
            "base_price_money": square_money(order.amount),
        }
        asked: OrderParams = {
            "location_id": await self._place(),
            "reference_id": reference(order.id),
            "metadata": {OURS: order.id},
            "line_items": [line],
        }
        manners: Any = {"allow_tipping": False, "ask_for_shipping_address": False, "enable_coupon": False}
        if order.success_url:
            manners["redirect_url"] = order.success_url
        made = self._calls.links.create(
            idempotency_key=key(order.id),
            order=asked,
            checkout_options=manners,
            request_options=ONCE,
        )
        return await self._calls.part(made, "payment_link")


def _customer(told: Any) -> CustomerFacts:
    return CustomerFacts(told.id, told.reference_id or "", told.email_address or "", told.given_name or "")
