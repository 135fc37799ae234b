"""Checkouts, payments and what goes wrong: exact, once, and never guessed."""

import contextlib

import pytest

from metergate.errors import InvalidInput
from metergate.provider_port import (
    CANCELED,
    FAILED,
    PENDING,
    SUCCEEDED,
    Approvals,
    Captures,
    Checkouts,
    Claims,
    Declined,
    Feed,
    Lookups,
    Misconfigured,
    Money,
    ProviderEvent,
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
    Transfers,
    able,
    play,
    play_next,
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
        assert (await self.known(bench, checkout.id, order.id)).state == PENDING
        await bench.pay(checkout)
        after = await self.known(bench, checkout.id, order.id)
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
        order = self.an_order()
        checkout = await able(bench, Checkouts).open_checkout(order)
        await play(bench.pay(checkout, declined=True))
        if isinstance(bench.provider, Lookups):  # what was approved is not completed: that is another story
            found = there(await bench.provider.fetch_payment(checkout.id))
        else:
            found = await self.known(bench, checkout.id, order.id)
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

    async def test_what_nobody_has_paid_is_given_up(self, bench: Bench) -> None:
        captures, order = able(bench, Captures), self.an_order()
        checkout = await able(bench, Checkouts).open_checkout(order)
        canceled = await captures.cancel_payment(checkout.id)
        assert (canceled.state, canceled.amount) == (CANCELED, PRICE)

    async def test_what_is_authorised_is_let_go(self, bench: Bench) -> None:
        captures, found = able(bench, Captures), await self.authorised(bench)
        asked = await captures.cancel_payment(found.id)
        assert asked.state in (PENDING, CANCELED)
        after = await self.known(bench, found.id, found.order)
        assert (after.state, after.capturable) == (CANCELED, False)

    async def test_what_is_paid_is_not_given_up(self, bench: Bench) -> None:
        captures, paid = able(bench, Captures), await self.paid(bench)
        with contextlib.suppress(Declined, Misconfigured, InvalidInput):
            assert (await captures.cancel_payment(paid.id)).state != CANCELED
        assert (await self.known(bench, paid.id, paid.order)).state == SUCCEEDED

    # What a payer says, and what we fetch.

    async def test_a_claim_pays_its_order_once(self, bench: Bench) -> None:
        claims, order = able(bench, Claims), self.an_order()
        checkout = await able(bench, Checkouts).open_checkout(order)
        if not isinstance(bench, Transfers):
            pytest.skip("The stand-in cannot play this.")
        transaction, signature = await bench.transfer(checkout)
        claimed = await claims.claim_payment(order.id, transaction, signature)
        again = await claims.claim_payment(order.id, transaction, signature)
        assert again.id == claimed.id
        assert {claimed.state, again.state} <= {PENDING, SUCCEEDED}
        found = await self.known(bench, claimed.id, order.id)
        assert (found.order, found.amount) == (order.id, PRICE)

    async def test_a_claim_of_what_nobody_transferred_pays_nothing(self, bench: Bench) -> None:
        claims, order = able(bench, Claims), self.an_order()
        checkout = await able(bench, Checkouts).open_checkout(order)
        with pytest.raises((InvalidInput, TryAgain)):
            await claims.claim_payment(order.id, f"0x{'ab' * 32}", "")
        assert (await self.known(bench, checkout.id, order.id)).state == PENDING

    async def test_a_feed_goes_on_from_its_cursor_and_repeats_itself_from_the_beginning(
        self, bench: Bench
    ) -> None:
        feed, paid = able(bench, Feed), await self.paid(bench)
        first, cursor = await self._fed(feed, "")
        assert paid.id in {event.object for event in first} | {
            event.payment.id for event in first if event.payment
        }
        assert len({event.id for event in first}) == len(first)
        again, _ = await self._fed(feed, "")
        assert [event.id for event in again] == [event.id for event in first]
        new, _ = await self._fed(feed, cursor)
        assert {event.id for event in new} <= {event.id for event in first}
        await self.paid(bench)
        more, _ = await self._fed(feed, cursor)
        assert {event.id for event in more} - {event.id for event in first}

    async def _fed(self, feed: Feed, cursor: str) -> tuple[list[ProviderEvent], str]:
        events: list[ProviderEvent] = []
        more = True
        while more:
            page = await feed.events_after(cursor)
            events += page.events
            more, cursor = page.more and page.cursor != cursor, page.cursor
        return events, cursor

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
        assert (await self.known(bench, again.id, order.id)).state == SUCCEEDED
