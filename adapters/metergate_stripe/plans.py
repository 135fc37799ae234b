"""Plans that Stripe renews."""

from stripe import Invoice, Subscription
from stripe.params.checkout import SessionCreateParamsLineItem

from metergate.provider_port import (
    PENDING,
    Declined,
    Item,
    Misconfigured,
    NeedsAction,
    Order,
    PaymentFacts,
    SubscriptionFacts,
)
from metergate_stripe.base import ALL, LAG_S, id_of, said
from metergate_stripe.catalogue import Catalogue
from metergate_stripe.money import from_stripe
from metergate_stripe.outcomes import CONFIRM, ask, every, maybe
from metergate_stripe.payments import WITH, Payments

FIRST = "subscription_create"
"""Why Stripe makes the invoice with which a subscription begins."""
KEYS = 10
"""How many prices Stripe looks up at once, which is also how many a page of a list has."""


class Plans(Payments, Catalogue):
    async def find_payment(self, order: str) -> PaymentFacts | None:
        return await super().find_payment(order) or await self._find_plan(order)

    async def fetch_subscription(self, id: str) -> SubscriptionFacts | None:
        """None also for one that somebody sells by other means to a customer of ours: it is of no plan."""
        known = await maybe(self.api.subscriptions.retrieve_async(id))
        facts = None if known is None else self._subscription(known)
        return facts if facts is not None and facts.plan else None

    async def cancel_subscription(self, id: str, *, at_period_end: bool) -> SubscriptionFacts:
        known = await ask(self.api.subscriptions.retrieve_async(id))
        if known.status not in ("canceled", "incomplete_expired"):
            ended = (
                self.api.subscriptions.update_async(id, {"cancel_at_period_end": True})
                if at_period_end
                else self.api.subscriptions.cancel_async(id)
            )
            known = await ask(ended)
        return self._subscription(known)

    def plan_marks(self, order: Order) -> dict[str, str]:
        return {**self.marks(order), self.named("plan"): order.plan}

    async def plan_lines(self, order: Order) -> list[SessionCreateParamsLineItem]:
        lines: list[SessionCreateParamsLineItem] = [{"price": await self._price(order), "quantity": 1}]
        metered: list[SessionCreateParamsLineItem] = [{"price": each} for each in await self._metered()]
        return lines + metered

    async def begin_plan(self, order: Order, method: str) -> PaymentFacts:
        """Charge a kept method for the first period; without money there is no subscription."""
        begun = await ask(
            self.api.subscriptions.create_async(
                {
                    "customer": order.customer,
                    "items": [{"price": each} for each in (await self._price(order), *await self._metered())],
                    "default_payment_method": method,
                    "metadata": self.plan_marks(order),
                    "off_session": True,
                    "payment_behavior": "allow_incomplete",
                },
                self.once("order", order.id),
            )
        )
        facts, page = await self._first_payment(begun)
        if facts.state != PENDING:
            return facts
        intent = await ask(self.api.payment_intents.retrieve_async(facts.id))
        asked = said(intent.last_payment_error, "code") in CONFIRM
        if asked or intent.status == "requires_action":
            raise NeedsAction("Your bank wants you to confirm the payment.", page)
        if intent.status == "requires_payment_method":
            await self.cancel_subscription(begun.id, at_period_end=False)
            raise Declined(facts.reason or "The payment method was declined.")
        return facts

    async def _price(self, order: Order) -> str:
        title = order.description.removeprefix("Plan: ") or order.plan
        return (await self.price_of(Item("plan", order.plan, title, every=order.every), order.amount)).id

    async def _metered(self) -> list[str]:
        """The prices of the meters whose usage Stripe is to put on the invoices of plans."""
        names = [self.key_of("meter", meter) for meter in self.settings.plan_meters]
        priced: dict[str | None, str] = {}
        for start in range(0, len(names), KEYS):
            some = names[start : start + KEYS]
            listed = await ask(self.api.prices.list_async({"lookup_keys": some, "active": True}))
            priced |= {each.lookup_key: each.id for each in listed.data}
        if len(priced) < len(names):
            raise Misconfigured(
                "A meter in STRIPE_PLAN_METERS has no price at Stripe: run `metergate providers sync`."
            )
        return [priced[name] for name in names]

    async def _find_plan(self, order: str) -> PaymentFacts | None:
        since = self.now_s() - LAG_S
        listed = self.api.subscriptions.list_async({"created": {"gte": since}, "status": "all", "limit": ALL})
        async for each in every(await ask(listed)):
            if self.mark(each.metadata, "order") == order:
                return (await self._first_payment(each))[0]
        found = await ask(self.api.subscriptions.search_async({"query": self.where("order", order)}))
        return (await self._first_payment(found.data[0]))[0] if found.data else None

    async def _first_payment(self, begun: Subscription) -> tuple[PaymentFacts, str]:
        """What pays the first invoice of a subscription, and the page where that can be paid."""
        order = self.mark(begun.metadata, "order")
        invoice = await self._first_invoice(begun.id)
        page = invoice.hosted_invoice_url or ""
        paid_by = await self.intent_of_invoice(invoice.id)
        if paid_by:
            intent = await ask(self.api.payment_intents.retrieve_async(paid_by, {"expand": WITH}))
            return await self.facts_of(intent, order, page), page
        amount = from_stripe(invoice.total, invoice.currency)
        state = "succeeded" if invoice.status == "paid" else PENDING
        customer = id_of(begun.customer)
        return PaymentFacts(invoice.id, order, state, amount, begun.livemode, customer, url=page), page

    async def _first_invoice(self, subscription: str) -> Invoice:
        listed = self.api.invoices.list_async({"subscription": subscription, "limit": ALL})
        invoices = [each async for each in every(await ask(listed))]
        return next((each for each in invoices if each.billing_reason == FIRST), invoices[-1])

    def _subscription(self, known: Subscription) -> SubscriptionFacts:
        items = known.items.data
        fixed = [each for each in items if each.price.recurring is None or not each.price.recurring.meter]
        item = (fixed or items)[0]
        plan = self.mark(item.price.metadata, "plan") or self.mark(known.metadata, "plan")
        return SubscriptionFacts(
            id=known.id,
            order=self.mark(known.metadata, "order"),
            customer=id_of(known.customer),
            plan=plan,
            state="canceled" if known.status == "incomplete_expired" else known.status,
            live=known.livemode,
            period_start_us=item.current_period_start * 10**6,
            period_end_us=item.current_period_end * 10**6,
            ends=known.cancel_at_period_end or known.cancel_at is not None,
        )
