"""Invoices, usage and the catalogue, where a provider has them."""

import pytest

from metergate.errors import PaymentFailed, ProviderError
from metergate.provider_port import (
    ACCEPTED,
    INVOICE,
    LATER,
    PLAN,
    REJECTED,
    SUBSCRIPTION,
    UNKNOWN,
    Catalogue,
    Checkouts,
    Customers,
    InvoiceDraft,
    InvoiceLine,
    Invoices,
    Item,
    Methods,
    Money,
    Order,
    Payer,
    SubscriptionFacts,
    Subscriptions,
    UsageSink,
    UsageTotal,
)
from metergate.testing.provider_conformance.bench import (
    BROKEN,
    BUSY,
    HOUR_US,
    PRICE,
    UNANSWERED,
    Bench,
    OnBench,
    Renews,
    able,
    play_next,
    there,
    token_of,
)


class BookTests(OnBench):
    async def test_an_invoice_is_made_once_and_paid_once(self, bench: Bench) -> None:
        invoices = able(bench, Invoices)
        customer = (await able(bench, Customers).create_customer(Payer("acct_1"))).id
        lines = (InvoiceLine("Calls", Money(1000, "USD")), InvoiceLine("Tokens", Money(999, "USD")))
        due = bench.clock() + 24 * HOUR_US
        draft = InvoiceDraft("inv-1", Payer("acct_1"), customer, "MG-2026-01-1", lines, due)
        made, again = await invoices.create_invoice(draft), await invoices.create_invoice(draft)
        assert again.id == made.id
        assert (made.state, made.invoice, made.amount, made.paid.minor) == ("open", "inv-1", PRICE, 0)
        kept = await able(bench, Methods).attach_method(customer, token_of(bench))
        paid = await invoices.pay_invoice(made.id, kept.id)
        assert (paid.state, paid.paid) == ("paid", PRICE)
        assert there(await invoices.fetch_invoice(made.id)).state == "paid"

    async def test_an_invoice_that_a_declined_method_was_to_pay_stays_open(self, bench: Bench) -> None:
        invoices, draft = able(bench, Invoices), await self._draft(bench)
        made = await invoices.create_invoice(draft)
        token = token_of(bench, declined=True)
        kept = await able(bench, Methods).attach_method(draft.customer, token)
        with pytest.raises(PaymentFailed):
            await invoices.pay_invoice(made.id, kept.id)
        found = there(await invoices.fetch_invoice(made.id))
        assert (found.state, found.paid.minor) == ("open", 0)

    async def test_an_invoice_is_voided_and_cannot_be_paid_then(self, bench: Bench) -> None:
        invoices, draft = able(bench, Invoices), await self._draft(bench)
        made = await invoices.create_invoice(draft)
        assert (await invoices.void_invoice(made.id)).state == "void"
        kept = await able(bench, Methods).attach_method(draft.customer, token_of(bench))
        with pytest.raises((PaymentFailed, ProviderError)):
            await invoices.pay_invoice(made.id, kept.id)
        found = there(await invoices.fetch_invoice(made.id))
        assert (found.state, found.paid.minor) == ("void", 0)

    async def test_a_paid_invoice_is_not_voided(self, bench: Bench) -> None:
        invoices, draft = able(bench, Invoices), await self._draft(bench)
        made = await invoices.create_invoice(draft)
        kept = await able(bench, Methods).attach_method(draft.customer, token_of(bench))
        await invoices.pay_invoice(made.id, kept.id)
        with pytest.raises((PaymentFailed, ProviderError)):
            await invoices.void_invoice(made.id)
        assert there(await invoices.fetch_invoice(made.id)).state == "paid"

    async def test_news_of_an_invoice_names_it(self, bench: Bench) -> None:
        invoices, draft = able(bench, Invoices), await self._draft(bench)
        made = await invoices.create_invoice(draft)
        kept = await able(bench, Methods).attach_method(draft.customer, token_of(bench))
        await invoices.pay_invoice(made.id, kept.id)
        assert made.id in {event.object for event in await self.read(bench) if event.kind == INVOICE}
        assert await invoices.fetch_invoice("in_nobody") is None

    # Subscriptions.

    async def test_a_plan_that_is_paid_for_begins_a_subscription(self, bench: Bench) -> None:
        order, found = await self._subscribed(bench)
        assert (found.order, found.plan, found.customer) == (order.id, "growth", order.customer)
        assert (found.state, found.ends, found.live) == ("active", False, False)
        assert found.period_start_us < found.period_end_us
        assert await able(bench, Subscriptions).fetch_subscription("sub_nobody") is None

    async def test_a_subscription_ends_with_its_period_or_at_once(self, bench: Bench) -> None:
        _, found = await self._subscribed(bench)
        subscriptions = able(bench, Subscriptions)
        for _ in range(2):
            later = await subscriptions.cancel_subscription(found.id, at_period_end=True)
            assert (later.state, later.ends) == ("active", True)
        now = await subscriptions.cancel_subscription(found.id, at_period_end=False)
        assert now.state == "canceled"
        assert there(await subscriptions.fetch_subscription(found.id)).state == "canceled"

    async def test_a_subscription_is_renewed_or_past_due(self, bench: Bench) -> None:
        _, found = await self._subscribed(bench)
        if not isinstance(bench, Renews):
            pytest.skip("The stand-in cannot play this.")
        await bench.renew(found.id)
        renewed = there(await able(bench, Subscriptions).fetch_subscription(found.id))
        assert (renewed.state, renewed.period_start_us) == ("active", found.period_end_us)
        await bench.renew(found.id, paid=False)
        unpaid = there(await able(bench, Subscriptions).fetch_subscription(found.id))
        assert unpaid.state in ("past_due", "unpaid")

    async def _subscribed(self, bench: Bench) -> tuple[Order, SubscriptionFacts]:
        """A plan that somebody has bought on a page, and what the news of it led to."""
        subscriptions = able(bench, Subscriptions)
        customer = (await able(bench, Customers).create_customer(Payer("acct_1", "a@example.com"))).id
        if isinstance(bench.provider, Catalogue):
            await bench.provider.sync_catalogue([Item("plan", "growth", "Growth", PRICE, "month")])
        order = self.an_order(kind=PLAN, plan="growth", every="month", customer=customer)
        await bench.pay(await able(bench, Checkouts).open_checkout(order))
        told = [event.object for event in await self.read(bench) if event.kind == SUBSCRIPTION]
        assert told, "A subscription that begins is news."
        return order, there(await subscriptions.fetch_subscription(told[-1]))

    async def _draft(self, bench: Bench) -> InvoiceDraft:
        customer = (await able(bench, Customers).create_customer(Payer("acct_1", "a@example.com"))).id
        due = bench.clock() + 24 * HOUR_US
        return InvoiceDraft("inv-1", Payer("acct_1"), customer, "MG-1", (InvoiceLine("Calls", PRICE),), due)

    # Usage and the catalogue.

    async def test_usage_counts_once_per_identifier(self, bench: Bench) -> None:
        sink = able(bench, UsageSink)
        customer = (await able(bench, Customers).create_customer(Payer("acct_1"))).id
        start, at = bench.clock() - HOUR_US, bench.clock() - HOUR_US // 2
        await self._list_meter(bench)
        first = UsageTotal("u-1", customer, "tokens", 700, at)
        correction = UsageTotal("u-2", customer, "tokens", -100, at)
        for total in (first, first, correction):
            assert [each.status for each in await sink.push_usage([total])] == [ACCEPTED]
        assert await sink.usage_summary(customer, "tokens", start, bench.clock()) == 600

    async def test_usage_without_an_answer_is_unknown_and_counts_once(self, bench: Bench) -> None:
        """Whoever is not answered says the same again, under the same identifier."""
        sink, total = await self._a_total(bench)
        play_next(bench, UNANSWERED)
        assert [each.status for each in await sink.push_usage([total])] == [UNKNOWN]
        assert [each.status for each in await sink.push_usage([total])] == [ACCEPTED]
        assert await self._counted(sink, total) == total.units

    @pytest.mark.parametrize(("fault", "becomes"), [(BUSY, (LATER,)), (BROKEN, (UNKNOWN, LATER))])
    async def test_usage_that_was_not_taken_is_taken_the_next_time(
        self, bench: Bench, fault: str, becomes: tuple[str, ...]
    ) -> None:
        """A 429 says that nothing was done; of a 500 nobody knows."""
        sink, total = await self._a_total(bench)
        play_next(bench, fault)
        [answer] = await sink.push_usage([total])
        assert answer.status in becomes
        assert [each.status for each in await sink.push_usage([total])] == [ACCEPTED]
        assert await self._counted(sink, total) == total.units

    async def test_usage_that_is_too_old_is_rejected_and_not_moved(self, bench: Bench) -> None:
        sink, total = await self._a_total(bench)
        old = total._replace(at_us=bench.clock() - sink.oldest_us - HOUR_US)
        assert [each.status for each in await sink.push_usage([old])] == [REJECTED]
        assert await self._counted(sink, total) == 0

    async def test_a_usage_sink_says_how_far_it_can_be_trusted(self, bench: Bench) -> None:
        sink = able(bench, UsageSink)
        assert 0 < sink.forgets_us <= sink.oldest_us
        assert 0 <= sink.lags_us < sink.forgets_us, "a summary settles what the provider has forgotten"

    async def test_meters_that_were_listed_are_counted(self, bench: Bench) -> None:
        sink, _ = await self._a_total(bench)
        assert list(await sink.counted_meters(["tokens"])) == ["tokens"]

    async def test_usage_of_a_stranger_is_rejected_alone(self, bench: Bench) -> None:
        sink = able(bench, UsageSink)
        customer = (await able(bench, Customers).create_customer(Payer("acct_1"))).id
        await self._list_meter(bench)
        at = bench.clock() - HOUR_US // 2
        totals = [
            UsageTotal("u-1", "cus_nobody", "tokens", 1, at),
            UsageTotal("u-2", customer, "tokens", 1, at),
        ]
        assert [each.status for each in await sink.push_usage(totals)] == [REJECTED, ACCEPTED]

    async def test_a_second_sync_changes_nothing(self, bench: Bench) -> None:
        catalogue = able(bench, Catalogue)
        items = [
            Item("meter", "tokens", "Tokens", unit_price="2.50", per=1_000_000, currency="USD"),
            Item("plan", "growth", "Growth", Money(900, "USD"), "month"),
            Item("pack", "small", "Small", Money(500, "USD")),
        ]
        first = await catalogue.sync_catalogue(items)
        assert [(each.kind, each.name) for each in first] == [(each.kind, each.name) for each in items]
        second = await catalogue.sync_catalogue(items)
        assert [(each.id, each.change) for each in second] == [(each.id, "unchanged") for each in first]

    async def _a_total(self, bench: Bench) -> tuple[UsageSink, UsageTotal]:
        sink = able(bench, UsageSink)
        customer = (await able(bench, Customers).create_customer(Payer("acct_1"))).id
        await self._list_meter(bench)
        return sink, UsageTotal("u-1", customer, "tokens", 700, bench.clock() - HOUR_US // 2)

    async def _counted(self, sink: UsageSink, total: UsageTotal) -> int:
        """What the provider shows of the minute before and after."""
        return await sink.usage_summary(
            total.customer, total.meter, total.at_us - 60 * 10**6, total.at_us + 60 * 10**6
        )

    async def _list_meter(self, bench: Bench) -> None:
        if isinstance(bench.provider, Catalogue):
            meter = Item("meter", "tokens", "Tokens", unit_price="2.50", per=1_000_000, currency="USD")
            await bench.provider.sync_catalogue([meter])
