"""Invoices, usage and the catalogue, where a provider has them."""

from metergate.provider_port import (
    ACCEPTED,
    REJECTED,
    Catalogue,
    Customers,
    InvoiceDraft,
    InvoiceLine,
    Invoices,
    Item,
    Methods,
    Money,
    Payer,
    UsageSink,
    UsageTotal,
)
from metergate.testing.provider_conformance.bench import HOUR_US, PRICE, Bench, OnBench, able, there, token_of


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

    async def _list_meter(self, bench: Bench) -> None:
        if isinstance(bench.provider, Catalogue):
            meter = Item("meter", "tokens", "Tokens", unit_price="2.50", per=1_000_000, currency="USD")
            await bench.provider.sync_catalogue([meter])
