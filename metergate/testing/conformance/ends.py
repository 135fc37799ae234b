"""How holds end: settled, released or expired, and each of them once."""

import pytest

from metergate.ports import CONFLICT, DENIED, DONE, GRANTED, UNKNOWN, Expired, Settle, answered
from metergate.testing.conformance.bench import (
    HOUR_US,
    TERMS,
    Bench,
    OnBench,
    an_event,
    money,
    quota,
    rate,
    slot,
)

SECOND_US = 10**6


class EndTests(OnBench):
    @pytest.mark.parametrize(
        ("actual", "left"), [(0, 100), (10, 90), (30, 70), (40, 60), (250, -150)], ids=str
    )
    async def test_a_settle_puts_the_actual_amount_in_the_place_of_the_held_one(
        self, bench: Bench, actual: int, left: int
    ) -> None:
        await bench.account(balance=100)
        await bench.hold(quota(30, 1000), money(30), op="a")
        assert await bench.settle("a", actual, actual) == DONE
        assert await bench.budget() == left
        assert await bench.budget(quota(0, 0).name) == actual
        assert await bench.events() == ["a"]

    async def test_a_call_that_came_to_what_was_held_needs_no_amounts(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(rate(SECOND_US, 5), quota(4, 9), money(30), op="a")
        async with bench.budgets_stay():
            settle = Settle("a", None, an_event("a"))
            assert list(await answered(bench.store.settle((settle,), bench.clock()))) == [DONE]
        assert await bench.events() == ["a"]
        assert await bench.release("a") == [CONFLICT]

    async def test_what_a_call_uses_above_its_hold_is_debt_and_the_next_call_is_refused(
        self, bench: Bench
    ) -> None:
        await bench.account(balance=10)
        await bench.hold(money(10), op="a")
        await bench.settle("a", 15)
        assert await bench.budget() == -5
        denied = await bench.hold(money(1))
        assert (denied.status, denied.value) == (DENIED, -5)
        assert (await bench.hold(money(0))).status == DENIED

    async def test_the_same_settle_again_is_done_and_changes_nothing(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(30), slot(3), op="a")
        await bench.settle("a", 10, 1)
        async with bench.nothing_changes():
            assert await bench.settle("a", 10, 1) == DONE
        await bench.acknowledge(1)
        assert await bench.settle("a", 10, 1) == DONE
        assert await bench.events() == []

    async def test_one_batch_settles_many_calls_and_one_call_once(self, bench: Bench) -> None:
        await bench.account("a", balance=10)
        await bench.account("b", balance=10)
        await bench.hold(money(5, "a"), op="1", account="a")
        await bench.hold(money(5, "b"), op="2", account="b")
        batch = [Settle(op, (1,), an_event(op)) for op in ("1", "2", "3", "1")]
        answers = await answered(bench.store.settle(batch, bench.clock()))
        assert list(answers) == [DONE, DONE, UNKNOWN, DONE]
        assert sorted(await bench.events()) == ["1", "2"]
        assert [await bench.budget(f"credits:{id}") for id in "ab"] == [9, 9]

    async def test_another_end_of_an_ended_call_is_a_conflict(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(1), op="settled")
        await bench.hold(money(1), op="released")
        await bench.settle("settled", 1)
        await bench.release("released")
        async with bench.nothing_changes():
            assert await bench.settle("settled", 2, path="/another") == CONFLICT
            assert await bench.settle("released", 1) == CONFLICT
            assert await bench.release("settled") == [CONFLICT]

    async def test_the_end_of_a_call_that_nobody_held_is_unknown(self, bench: Bench) -> None:
        await bench.account(balance=1)
        await bench.hold(money(2), op="denied")
        async with bench.nothing_changes():
            assert await bench.settle("never", 1) == UNKNOWN
            assert await bench.release("never") == [UNKNOWN]
            assert await bench.renew("never") == [UNKNOWN]
            assert await bench.settle("denied", 2) != DONE
            assert await bench.release("denied") != [DONE]

    async def test_a_release_gives_everything_back_but_the_rate(self, bench: Bench) -> None:
        await bench.account(balance=100)
        limit = rate(SECOND_US, 1)
        await bench.hold(slot(1), limit, quota(4, 9), money(30), op="a")
        assert await bench.release("a") == [DONE]
        assert await bench.budget() == 100
        assert await bench.budget(slot(1).name) == 0
        assert await bench.budget(quota(0, 0).name) == 0
        assert await bench.events() == []
        assert (await bench.hold(limit)).status == DENIED

    async def test_the_same_release_again_is_done_and_changes_nothing(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(30), op="a")
        await bench.hold(money(30), op="b")
        assert await bench.release("a", "never", "a") == [DONE, UNKNOWN, DONE]
        assert await bench.budget() == 70

    async def test_a_call_in_flight_ends_whatever_became_of_its_account(self, bench: Bench) -> None:
        """Money that was set aside is corrected under the facts it was set aside under."""
        await bench.account(balance=100)
        await bench.hold(money(30), op="a")
        await bench.hold(money(30), op="b")
        await bench.account()
        assert await bench.settle("a", 5) == DONE
        assert await bench.release("b") == [DONE]
        assert await bench.budget() == 95

    async def test_a_call_may_settle_after_its_window(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(quota(4, 9), money(30), op="a", lasts_us=80 * HOUR_US)
        bench.clock.advance(us=70 * HOUR_US)
        await bench.expire()
        assert await bench.settle("a", 2, 20) == DONE
        assert await bench.budget() == 80
        assert await bench.events() == ["a"]

    async def test_an_expired_hold_says_what_its_reaper_must_know(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(1), op="waiting")
        await bench.hold(money(1), op="gone")
        bench.store.dispatch("gone")
        bench.store.dispatch("never")
        bench.clock.advance(us=HOUR_US - 1)
        assert await bench.expire() == []
        bench.clock.advance(us=1)
        assert sorted(await bench.expire()) == [
            Expired("gone", "req-gone", True, TERMS),
            Expired("waiting", "req-waiting", False, TERMS),
        ]

    async def test_expiring_gives_nothing_back_until_the_reaper_ends_the_hold(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(30), op="a")
        bench.clock.advance(us=HOUR_US)
        async with bench.nothing_changes():
            await bench.expire()
        assert await bench.release("a") == [DONE]
        assert await bench.budget() == 100
        bench.clock.advance(us=HOUR_US)
        assert await bench.expire() == []

    async def test_what_was_never_dispatched_can_lapse_and_is_forgotten(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(30), slot(1), op="never")
        await bench.hold(money(10), op="gone")
        bench.store.dispatch("gone")
        assert await bench.budget() == 60
        assert await bench.lapse("never", "gone", "stranger") == [DONE, UNKNOWN, UNKNOWN]
        assert (await bench.budget(), await bench.budget(slot(1).name)) == (90, 0)
        assert bench.store.health().open_holds == 1
        assert await bench.lapse("never") == [UNKNOWN]
        assert await bench.settle("never", 30, 1) == UNKNOWN
        assert (await bench.hold(money(30), op="never")).status == GRANTED
        assert await bench.settle("never", 30) == DONE
        assert await bench.budget() == 60

    async def test_a_call_may_settle_after_it_expired(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(30), op="a")
        bench.clock.advance(us=HOUR_US)
        await bench.expire()
        assert await bench.settle("a", 20) == DONE
        assert await bench.budget() == 80
        assert await bench.release("a") == [CONFLICT]

    async def test_an_expired_hold_is_handed_to_one_reaper_and_later_to_another(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(30), op="a")
        bench.clock.advance(us=HOUR_US)
        assert [each.op for each in await bench.expire()] == ["a"]
        assert await bench.expire() == []
        bench.clock.advance(us=HOUR_US)
        assert [each.op for each in await bench.expire()] == ["a"]

    async def test_no_more_holds_expire_at_once_than_were_asked_for(self, bench: Bench) -> None:
        await bench.account(balance=100)
        for op in "abcde":
            await bench.hold(money(1), op=op)
        bench.clock.advance(us=HOUR_US)
        first, second, third = await bench.expire(2), await bench.expire(2), await bench.expire(2)
        assert [len(first), len(second), len(third)] == [2, 2, 1]
        assert sorted(each.op for each in first + second + third) == list("abcde")

    async def test_a_renewed_hold_lives_on(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(1), op="short")
        await bench.hold(money(1), op="long")
        assert await bench.renew("long", lasts_us=3 * HOUR_US) == [DONE]
        bench.clock.advance(us=2 * HOUR_US)
        assert [each.op for each in await bench.expire()] == ["short"]
        bench.clock.advance(us=HOUR_US)
        assert "long" in [each.op for each in await bench.expire()]
        await bench.release("long")
        assert await bench.renew("long", "short") == [UNKNOWN, DONE]

    async def test_a_hold_can_tell_that_its_call_goes_on(self, bench: Bench) -> None:
        await bench.account(balance=10)
        going_on = (await bench.a_hold(money(1), op="a"))._replace(dispatched=True)
        too_much = (await bench.a_hold(money(10), op="b"))._replace(dispatched=True)
        assert [each.status for each in await bench.send(going_on, too_much)] == [GRANTED, DENIED]
        bench.clock.advance(seconds=7200)
        assert [(each.op, each.dispatched) for each in await bench.expire()] == [("a", True)]

    async def test_a_hold_that_was_made_again_is_dispatched_once_and_ends_once(self, bench: Bench) -> None:
        await bench.account(balance=100)
        hold = await bench.a_hold(money(10), slot(1))
        assert (await bench.send(hold))[0].status == GRANTED
        bench.store.dispatch(hold.op)
        assert (await bench.send(hold))[0].status == GRANTED
        bench.store.dispatch(hold.op)
        bench.clock.advance(us=HOUR_US)
        assert [each.dispatched for each in await bench.expire()] == [True]
        assert await bench.settle(hold.op, 10, 1) == DONE
        assert await bench.budget(slot(1).name) == 0
