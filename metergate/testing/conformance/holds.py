"""Holds: all amounts or none, once per id, in batches."""

import asyncio
from collections.abc import Sequence

import pytest

from metergate.core.budget import Draw
from metergate.ports import CONFLICT, DENIED, ENDED, GRANTED, STALE, Held
from metergate.testing.conformance.bench import Bench, OnBench, holding, money, quota, rate, slot

A_MINUTE_US = 60 * 10**6
FITTING = (slot(5), rate(A_MINUTE_US, 5), quota(3, 10), money(30))
MISFITS = (slot(0), rate(A_MINUTE_US, 0), quota(3, 2), money(31, low=70))
"""One draw of every kind that fits an account with 100 nanos, and one on the same budget that does not."""


def with_misfits(*positions: int) -> Sequence[Draw]:
    return [MISFITS[i] if i in positions else fitting for i, fitting in enumerate(FITTING)]


class HoldTests(OnBench):
    async def test_a_hold_takes_every_amount_and_says_what_each_budget_holds(self, bench: Bench) -> None:
        await bench.account(balance=100)
        now_us = bench.clock()
        held = await bench.hold(*FITTING)
        assert held == Held(GRANTED, (1, now_us + A_MINUTE_US, 3, 70))
        assert [await bench.budget(draw.name) for draw in FITTING] == list(held.values)

    async def test_a_hold_without_draws_is_granted(self, bench: Bench) -> None:
        await bench.account()
        assert await bench.hold(op="a") == Held(GRANTED)
        assert await bench.settle("a") == "done"
        assert await bench.events() == ["a"]

    async def test_the_same_hold_again_answers_the_same_and_takes_nothing(self, bench: Bench) -> None:
        await bench.account(balance=100)
        hold = await bench.a_hold(*FITTING)
        first = await bench.send(hold)
        await bench.hold(money(1))
        async with bench.nothing_changes():
            assert await bench.send(hold) == first
            bench.clock.advance(seconds=10)
            assert await bench.send(hold._replace(expires_at_us=hold.expires_at_us + 1)) == first

    @pytest.mark.parametrize(
        "other",
        [
            {"draws": (money(2),)},
            {"draws": (money(1), slot(1))},
            {"draws": ()},
            {"account": "b"},
            {"terms": b"\x90"},
            {"request_id": "other"},
        ],
        ids=lambda other: next(iter(other)),
    )
    async def test_the_same_id_with_other_contents_is_a_conflict(
        self, bench: Bench, other: dict[str, object]
    ) -> None:
        await bench.account(balance=100)
        await bench.account("b", balance=100)
        hold = await bench.a_hold(money(1))
        await bench.send(hold)
        async with bench.nothing_changes():
            changed = hold._replace(**other)  # type: ignore[arg-type]  # one field by its name
            assert [held.status for held in await bench.send(changed)] == [CONFLICT]

    @pytest.mark.parametrize("position", range(4))
    async def test_one_draw_that_does_not_fit_refuses_all_of_them(self, bench: Bench, position: int) -> None:
        await bench.account(balance=100)
        async with bench.nothing_changes():
            held = await bench.hold(*with_misfits(position))
            assert (held.status, held.position) == (DENIED, position)
            assert held.value == (await bench.budget(FITTING[position].name) or 0)

    @pytest.mark.parametrize("position", range(3))
    async def test_the_first_draw_that_does_not_fit_is_named(self, bench: Bench, position: int) -> None:
        await bench.account(balance=100)
        held = await bench.hold(*with_misfits(*range(position, 4)))
        assert (held.status, held.position) == (DENIED, position)

    async def test_a_denied_id_stays_denied(self, bench: Bench) -> None:
        await bench.account(balance=5)
        await bench.hold(money(3), op="small")
        hold = await bench.a_hold(slot(9), money(3))
        denied = Held(DENIED, position=1, value=2)
        assert await bench.send(hold) == [denied]
        await bench.release("small")
        async with bench.nothing_changes():
            assert await bench.send(hold) == [denied]
        assert (await bench.hold(slot(9), money(3))).status == GRANTED

    async def test_an_id_whose_call_has_ended_is_not_held_again(self, bench: Bench) -> None:
        await bench.account(balance=100)
        settled, released = await bench.a_hold(money(1)), await bench.a_hold(money(1))
        await bench.send(settled, released)
        await bench.settle(settled.op, 1)
        await bench.release(released.op)
        async with bench.nothing_changes():
            assert [held.status for held in await bench.send(settled, released)] == [ENDED, ENDED]

    async def test_an_account_that_is_not_known_is_never_taken_for_an_empty_one(self, bench: Bench) -> None:
        async with bench.nothing_changes():
            assert (await bench.hold(account="nobody")).status == STALE
            assert (await bench.hold(money(0, "nobody", low=-100), account="nobody")).status == STALE

    async def test_an_empty_batch_has_no_answers(self, bench: Bench) -> None:
        assert await bench.send() == []

    async def test_a_batch_is_answered_in_its_order_and_each_hold_on_its_own(self, bench: Bench) -> None:
        await bench.account("a", balance=10)
        await bench.account("b", balance=10)
        held = await bench.send(
            await bench.a_hold(money(8, "a"), account="a"),
            await bench.a_hold(money(8, "b"), account="b"),
            await bench.a_hold(money(8, "a"), account="a"),
            await bench.a_hold(money(8, "c"), account="c"),
            await bench.a_hold(money(2, "a"), account="a"),
            await bench.a_hold(money(3, "b"), account="b"),
        )
        assert held == [
            Held(GRANTED, (2,)),
            Held(GRANTED, (2,)),
            Held(DENIED, position=0, value=2),
            Held(STALE),
            Held(GRANTED, (0,)),
            Held(DENIED, position=0, value=2),
        ]

    async def test_an_id_twice_in_one_batch_is_one_hold(self, bench: Bench) -> None:
        await bench.account(balance=10)
        hold = await bench.a_hold(money(4))
        assert await bench.send(hold, hold) == [Held(GRANTED, (6,))] * 2
        assert await bench.budget() == 6

    async def test_a_large_batch_is_taken_whole(self, bench: Bench) -> None:
        await bench.account(balance=500)
        held = await bench.send(*[await bench.a_hold(money(1)) for _ in range(600)])
        assert [each.values for each in held[:500]] == [(left,) for left in range(499, -1, -1)]
        assert {each.status for each in held[500:]} == {DENIED}

    async def test_callers_at_the_same_time_never_take_more_than_there_is(self, bench: Bench) -> None:
        await bench.account(balance=100)
        holds = [await bench.a_hold(money(7), slot(1000)) for _ in range(40)]
        held = await asyncio.gather(*[bench.send(hold) for hold in holds])
        assert [each.status for (each,) in held].count(GRANTED) == 14
        assert await bench.budget() == 2
        assert await bench.budget("open:account:acct") == 14

    async def test_callers_at_the_same_time_never_hold_more_than_they_may(self, bench: Bench) -> None:
        await bench.account(balance=1000)
        holds = [await bench.a_hold(holding(7, 100), money(7)) for _ in range(40)]
        told = await asyncio.gather(*[bench.send(hold) for hold in holds])
        assert [each.status for (each,) in told].count(GRANTED) == 14
        assert await bench.budget("held:account:acct") == 98
        assert await bench.budget() == 902
