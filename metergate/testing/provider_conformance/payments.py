"""Checkouts, payments and what goes wrong: exact, once, and never guessed."""

import pytest

from metergate.provider_port import (
    FAILED,
    PENDING,
    SUCCEEDED,
    Approvals,
    Checkouts,
    Lookups,
    Money,
    TryAgain,
    UnknownOutcome,
    capabilities,
)
from metergate.testing.provider_conformance.bench import (
    BROKEN,
    BUSY,
    PRICE,
    UNANSWERED,
    Bench,
    OnBench,
    able,
    play,
    play_next,
    seen,
    there,
)


class PaymentTests(OnBench):
    async def test_it_is_well_and_says_what_it_can_do(self, bench: Bench) -> None:
        health = await bench.provider.health()
        assert health.ok, health.detail
        assert capabilities(bench.provider)
        assert bench.provider.live is False, "A stand-in has no real money: run the contract in test mode."

    # Checkouts and payments.

    async def test_a_checkout_is_opened_once_per_order(self, bench: Bench) -> None:
        order = self.an_order()
        first = await able(bench, Checkouts).open_checkout(order)
        again = await able(bench, Checkouts).open_checkout(order)
        assert first.url or first.details
        assert (again.id, again.url) == (first.id, first.url)
        assert bench.made() == 1

    async def test_two_equal_orders_are_two_payments(self, bench: Bench) -> None:
        first = await able(bench, Checkouts).open_checkout(self.an_order())
        second = await able(bench, Checkouts).open_checkout(self.an_order())
        assert first.id != second.id
        assert bench.made() == 2

    async def test_a_payment_is_pending_until_it_is_paid(self, bench: Bench) -> None:
        order = self.an_order()
        checkout = await able(bench, Checkouts).open_checkout(order)
        before = there(await able(bench, Lookups).fetch_payment(checkout.id))
        assert before.state == PENDING
        await bench.pay(checkout)
        after = await seen(bench, checkout)
        assert (after.state, after.order, after.live) == (SUCCEEDED, order.id, False)
        assert (after.refunds, after.disputes) == ((), ())

    @pytest.mark.parametrize(
        "amount", [PRICE, Money(29, "USD"), Money(435, "EUR"), Money(500, "JPY")], ids=str
    )
    async def test_what_was_paid_is_exact(self, bench: Bench, amount: Money) -> None:
        objection = getattr(bench.provider, "objection", lambda _: "")(amount)
        if objection:
            pytest.skip(objection)
        assert (await self.paid(bench, amount)).amount == amount

    async def test_a_declined_card_pays_nothing(self, bench: Bench) -> None:
        checkout = await able(bench, Checkouts).open_checkout(self.an_order())
        await play(bench.pay(checkout, declined=True))
        found = there(await able(bench, Lookups).fetch_payment(checkout.id))
        assert found.state in (PENDING, FAILED)

    async def test_what_was_approved_is_completed_once(self, bench: Bench) -> None:
        approvals, lookups = able(bench, Approvals), able(bench, Lookups)
        checkout = await able(bench, Checkouts).open_checkout(self.an_order())
        assert not there(await lookups.fetch_payment(checkout.id)).approved
        await bench.pay(checkout)
        approved = there(await lookups.fetch_payment(checkout.id))
        assert (approved.state, approved.approved) == (PENDING, True)
        first, again = [await approvals.complete_payment(approved.id) for _ in range(2)]
        assert (first.state, first.amount, first.approved) == (SUCCEEDED, PRICE, False)
        assert again == first == await lookups.fetch_payment(checkout.id)

    async def test_a_completion_without_an_answer_is_not_done_again(self, bench: Bench) -> None:
        approvals = able(bench, Approvals)
        checkout = await able(bench, Checkouts).open_checkout(self.an_order())
        await bench.pay(checkout)
        play_next(bench, UNANSWERED)
        with pytest.raises(UnknownOutcome):
            await approvals.complete_payment(checkout.id)
        assert there(await able(bench, Lookups).fetch_payment(checkout.id)).state == SUCCEEDED
        assert (await approvals.complete_payment(checkout.id)).amount == PRICE

    async def test_a_payment_is_found_by_our_id(self, bench: Bench) -> None:
        lookups = able(bench, Lookups)
        assert await lookups.find_payment("pay-nobody-knows") is None
        paid = await self.paid(bench)
        found = there(await lookups.find_payment(paid.order))
        assert (found.state, found.id) == (SUCCEEDED, paid.id)
        assert there(await lookups.fetch_payment(paid.id)).id == paid.id

    # What goes wrong.

    async def test_a_busy_provider_has_done_nothing(self, bench: Bench) -> None:
        order = self.an_order()
        play_next(bench, BUSY)
        with pytest.raises(TryAgain):
            await able(bench, Checkouts).open_checkout(order)
        assert bench.made() == 0
        await able(bench, Checkouts).open_checkout(order)
        assert bench.made() == 1

    async def test_what_a_broken_provider_did_is_not_guessed(self, bench: Bench) -> None:
        order = self.an_order()
        play_next(bench, BROKEN)
        with pytest.raises((TryAgain, UnknownOutcome)):
            await able(bench, Checkouts).open_checkout(order)
        await able(bench, Checkouts).open_checkout(order)
        assert bench.made() == 1

    async def test_what_was_done_without_an_answer_is_found_and_not_done_again(self, bench: Bench) -> None:
        order = self.an_order()
        play_next(bench, UNANSWERED)
        with pytest.raises(UnknownOutcome):
            await able(bench, Checkouts).open_checkout(order)
        again = await able(bench, Checkouts).open_checkout(order)
        assert bench.made() == 1
        await bench.pay(again)
        await seen(bench, again)
        assert there(await able(bench, Lookups).find_payment(order.id)).state == SUCCEEDED
