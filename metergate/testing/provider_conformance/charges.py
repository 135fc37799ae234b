"""Kept methods, captures and refunds, each once per id; customers and what they pay with."""

import contextlib

import pytest

from metergate.errors import InvalidInput, PaymentFailed, ProviderError
from metergate.provider_port import (
    FAILED,
    LOST,
    PENDING,
    SUCCEEDED,
    Captures,
    Charges,
    Customers,
    Declined,
    Lookups,
    Methods,
    Misconfigured,
    Money,
    Payer,
    Portal,
    Refunds,
    UnknownOutcome,
)
from metergate.testing.provider_conformance.bench import (
    PRICE,
    UNANSWERED,
    Bench,
    OnBench,
    able,
    play,
    play_next,
    there,
    token_of,
)


class ChargeTests(OnBench):
    async def test_a_kept_method_is_charged_once_per_order(self, bench: Bench) -> None:
        charges, method, customer = await self.with_method(bench)
        order = self.an_order(customer=customer)
        first = await charges.charge(order, method)
        assert (first.state, first.amount, first.order) == (SUCCEEDED, PRICE, order.id)
        again = await charges.charge(order, method)
        assert again.id == first.id
        assert bench.made() == 1

    async def test_a_declined_method_is_a_payment_failed(self, bench: Bench) -> None:
        charges, method, customer = await self.with_method(bench, declined=True)
        with pytest.raises(PaymentFailed):
            await charges.charge(self.an_order(customer=customer), method)

    async def test_a_charge_without_an_answer_is_found_by_our_id(self, bench: Bench) -> None:
        charges, method, customer = await self.with_method(bench)
        order = self.an_order(customer=customer)
        play_next(bench, UNANSWERED)
        with pytest.raises(UnknownOutcome):
            await charges.charge(order, method)
        assert there(await able(bench, Lookups).find_payment(order.id)).state == SUCCEEDED
        await charges.charge(order, method)
        assert bench.made() == 1

    async def test_what_is_authorised_is_ours_when_it_is_captured(self, bench: Bench) -> None:
        captures, found = able(bench, Captures), await self.authorised(bench)
        assert (found.state, found.capturable) == (PENDING, True)
        part = Money(1000, "USD")
        for _ in range(2):
            asked = await captures.capture_payment(found.id, part, "cap-1")
            assert (asked.state in (PENDING, SUCCEEDED), asked.amount) == (True, part)
        taken = await self.known(bench, found.id, found.order)
        assert (taken.state, taken.amount, taken.capturable) == (SUCCEEDED, part, False)

    async def test_all_of_what_is_authorised_is_captured_where_no_part_is_named(self, bench: Bench) -> None:
        captures, found = able(bench, Captures), await self.authorised(bench)
        await captures.capture_payment(found.id, None, "cap-1")
        taken = await self.known(bench, found.id, found.order)
        assert (taken.state, taken.amount) == (SUCCEEDED, PRICE)

    async def test_parts_go_back_once_per_refund(self, bench: Bench) -> None:
        refunds, paid = able(bench, Refunds), await self.paid(bench)
        for id in ("ref-1", "ref-1", "ref-2"):
            made = await refunds.refund_payment(paid.id, Money(500, "USD"), id)
            assert made.state in (PENDING, SUCCEEDED)
        found = await self.known(bench, paid.id, paid.order)
        assert sorted(each.amount for each in found.refunds) == [Money(500, "USD")] * 2
        assert len({each.id for each in found.refunds}) == 2
        assert {each.refund for each in found.refunds} <= {"ref-1", "ref-2", ""}

    async def test_no_more_goes_back_than_was_paid(self, bench: Bench) -> None:
        """It is refused, or it fails; and nobody is told that it may have worked."""
        refunds, paid = able(bench, Refunds), await self.paid(bench)
        await refunds.refund_payment(paid.id, Money(1500, "USD"), "ref-1")
        with contextlib.suppress(Declined, Misconfigured, InvalidInput):
            made = await refunds.refund_payment(paid.id, Money(500, "USD"), "ref-2")
            assert made.state in (PENDING, FAILED)
        found = await self.known(bench, paid.id, paid.order)
        assert [each.amount.minor for each in found.refunds if each.state != FAILED] == [1500]

    async def test_a_refund_without_an_answer_is_done_once(self, bench: Bench) -> None:
        refunds, paid = able(bench, Refunds), await self.paid(bench)
        part = Money(500, "USD")
        play_next(bench, UNANSWERED)
        with pytest.raises(UnknownOutcome):
            await refunds.refund_payment(paid.id, part, "ref-1")
        await refunds.refund_payment(paid.id, part, "ref-1")
        found = await self.known(bench, paid.id, paid.order)
        assert [each.amount for each in found.refunds] == [part]

    async def test_a_lost_dispute_is_a_fact_of_its_payment(self, bench: Bench) -> None:
        paid = await self.paid(bench)
        await play(bench.dispute(paid.id))
        found = await self.known(bench, paid.id, paid.order)
        assert [(each.amount, each.state) for each in found.disputes] == [(PRICE, LOST)]

    async def test_a_customer_is_made_once_per_account(self, bench: Bench) -> None:
        customers = able(bench, Customers)
        first = await customers.create_customer(Payer("acct_9", "nine@example.com", "Nine"))
        again = await customers.create_customer(Payer("acct_9", "nine@example.com", "Nine"))
        assert again.id == first.id
        assert there(await customers.fetch_customer(first.id)).account == "acct_9"
        assert await customers.fetch_customer("cus_nobody") is None

    async def test_methods_come_and_go(self, bench: Bench) -> None:
        customer = (await able(bench, Customers).create_customer(Payer("acct_1"))).id
        methods = able(bench, Methods)
        kept = await methods.attach_method(customer, token_of(bench))
        assert len(kept.last4) in (0, 4)
        assert [each.id for each in await methods.list_methods(customer)] == [kept.id]
        await methods.detach_method(customer, kept.id)
        assert list(await methods.list_methods(customer)) == []
        if isinstance(bench.provider, Charges):
            with pytest.raises((PaymentFailed, ProviderError)):
                await bench.provider.charge(self.an_order(customer=customer), kept.id)

    async def test_nobody_pays_with_the_method_of_another(self, bench: Bench) -> None:
        charges, method, _ = await self.with_method(bench)
        stranger = (await able(bench, Customers).create_customer(Payer("acct_2", "b@example.com"))).id
        with pytest.raises((PaymentFailed, ProviderError)):
            await charges.charge(self.an_order(customer=stranger), method)

    async def test_a_portal_is_a_page_of_one_customer(self, bench: Bench) -> None:
        portal = able(bench, Portal)
        customers = able(bench, Customers)
        pages = set()
        for account in ("acct_1", "acct_2"):
            customer = (await customers.create_customer(Payer(account, f"{account}@example.com"))).id
            pages.add(await portal.portal_url(customer, "https://shop.example/back"))
        assert len(pages) == 2
        assert all(page.startswith(("http://", "https://")) for page in pages)
        with pytest.raises((ProviderError, InvalidInput)):
            await portal.portal_url("cus_nobody", "https://shop.example/back")
