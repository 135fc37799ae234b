"""Budgets: the arithmetic of the core, to the last digit."""

from itertools import product

import pytest

from metergate.core.budget import BALANCE, QUOTA, RATE, SLOTS, UNBOUNDED, Draw, correct, take
from metergate.core.facts import AccountFacts
from metergate.core.money import MAX
from metergate.ports import DENIED, DONE, GRANTED, Hold, PutAccount, PutBudget, Settle, answered
from metergate.testing.clock import START_US
from metergate.testing.conformance.bench import Bench, OnBench, an_event, holding, money, quota, rate, slot

SECOND_US = 10**6
EXACT = 2**53
"""Above this a double loses the last digit."""

NUMBERS = (0, 1, 7, EXACT - 1, EXACT, EXACT + 1, 2**60 + 1)


def grid(kind: int) -> list[tuple[Draw, int]]:
    """Draws of a kind and the value of the budget each of them meets."""
    if kind == RATE:
        values = (0, START_US - 5, START_US, START_US + 3, START_US + 60 * SECOND_US)
        cases = product(values, (0, 1, 3), (1, 20 * SECOND_US), (0, 3, 60 * SECOND_US))
    elif kind == BALANCE:
        cases = product((-7, -EXACT - 1, *NUMBERS), NUMBERS, (-EXACT, -7, 0, 1, -UNBOUNDED), (0,))
    elif kind == QUOTA:
        cases = product(NUMBERS, NUMBERS, (-UNBOUNDED, 0, 1, EXACT), (1, EXACT, EXACT + 1, UNBOUNDED))
    else:
        cases = product((0, 1, 4), (1,), (0,), (0, 1, 4, 5))
    return [
        (Draw(kind, f"credits:{n}" if kind == BALANCE else f"n:{n}", amount, low, high, 0), value)
        for n, (value, amount, low, high) in enumerate(cases)
    ]


class BudgetTests(OnBench):
    @pytest.mark.parametrize("kind", [BALANCE, QUOTA, RATE, SLOTS], ids=["balance", "quota", "rate", "slots"])
    async def test_every_budget_is_taken_and_corrected_as_the_core_says(
        self, bench: Bench, kind: int
    ) -> None:
        """Holds, settles and releases over a grid of values, small and beyond the exact range of doubles."""
        cases = grid(kind)
        held = await bench.send(*await self._prepared(bench, cases))
        taken = [take(draw, value, START_US) for draw, value in cases]
        assert [each.values[0] if each.status == GRANTED else None for each in held] == taken
        assert [
            (each.position, each.value) for each, after in zip(held, taken, strict=True) if after is None
        ] == [(0, value) for (_, value), after in zip(cases, taken, strict=True) if after is None]
        expected = await self._ended(bench, cases, taken)
        assert [await bench.budget(draw.name) or 0 for draw, _ in cases] == expected

    async def _prepared(self, bench: Bench, cases: list[tuple[Draw, int]]) -> list[Hold]:
        accounts = [
            PutAccount(AccountFacts(str(n)), value if draw.kind == BALANCE else 0)
            for n, (draw, value) in enumerate(cases)
        ]
        until = START_US + 3600 * SECOND_US
        counters = [PutBudget(draw.name, value, until) for draw, value in cases if draw.kind != BALANCE]
        await bench.know(*accounts, *counters)
        return [await bench.a_hold(draw, op=f"op-{n}", account=str(n)) for n, (draw, _) in enumerate(cases)]

    async def _ended(self, bench: Bench, cases: list[tuple[Draw, int]], taken: list[int | None]) -> list[int]:
        """Ends every hold in one of four ways; says what the budgets hold then."""
        expected = []
        settles = []
        releases = []
        for n, ((draw, value), after) in enumerate(zip(cases, taken, strict=True)):
            actual = (0, draw.amount, draw.amount // 2, draw.amount + 1)[n % 4]
            expected.append(value if after is None else correct(draw, after, actual))
            if after is not None and n % 8 == 0:
                releases.append(f"op-{n}")
            elif after is not None:
                settles.append(Settle(f"op-{n}", (actual,), an_event(f"op-{n}")))
        answers = await answered(bench.store.settle(settles, START_US))
        assert [*answers, *await bench.release(*releases)] == [DONE] * (len(settles) + len(releases))
        return expected

    async def test_a_balance_may_go_down_to_its_bound_and_not_below(self, bench: Bench) -> None:
        await bench.account(balance=10)
        assert (await bench.hold(money(11))).status == DENIED
        assert (await bench.hold(money(10))).values == (0,)
        assert (await bench.hold(money(1))).status == DENIED
        assert (await bench.hold(money(5, low=-5))).values == (-5,)
        assert (await bench.hold(money(1, low=-5))).status == DENIED

    async def test_the_largest_amounts_keep_their_last_digit(self, bench: Bench) -> None:
        await bench.account(balance=MAX)
        assert (await bench.hold(money(MAX - 1), op="a")).values == (1,)
        assert (await bench.hold(money(2))).value == 1
        assert await bench.settle("a", MAX - 2) == DONE
        assert await bench.budget() == 2

    async def test_a_quota_says_its_value_when_it_lies_outside_of_the_bounds(self, bench: Bench) -> None:
        """So that a price which depends on the quantity of the period can be found anew."""
        await bench.account()
        assert (await bench.hold(quota(4, 5))).values == (4,)
        above, below = await bench.hold(quota(2, 5)), await bench.hold(quota(2, 99, low=5))
        assert (above.status, above.value) == (below.status, below.value) == (DENIED, 4)
        assert (await bench.hold(quota(2, 99, low=4))).values == (6,)

    async def test_a_rate_lets_a_burst_through_and_then_one_call_per_interval(self, bench: Bench) -> None:
        await bench.account()
        limit = rate(10 * SECOND_US, 3)
        start = bench.clock()
        arrivals = [(await bench.hold(limit)).values[0] - start for _ in range(3)]
        assert arrivals == [10 * SECOND_US, 20 * SECOND_US, 30 * SECOND_US]
        denied = await bench.hold(limit)
        assert (denied.status, denied.value - start) == (DENIED, 30 * SECOND_US)
        bench.clock.advance(us=10 * SECOND_US - 1)
        assert (await bench.hold(limit)).status == DENIED
        bench.clock.advance(us=1)
        assert (await bench.hold(limit)).values[0] - start == 40 * SECOND_US
        bench.clock.advance(seconds=300)
        assert (await bench.hold(limit)).values[0] - bench.clock() == 10 * SECOND_US

    async def test_the_store_keeps_no_clock_of_its_own(self, bench: Bench) -> None:
        await bench.account()
        bench.clock.now_us = 5
        assert (await bench.hold(rate(10, 1))).values == (15,)
        bench.clock.now_us = 14
        assert (await bench.hold(rate(10, 1))).status == DENIED
        bench.clock.now_us = 15
        assert (await bench.hold(rate(10, 1))).values == (25,)

    async def test_open_calls_are_given_back_however_they_end(self, bench: Bench) -> None:
        await bench.account()
        assert [(await bench.hold(slot(2), op=op)).status for op in "abc"] == [GRANTED, GRANTED, DENIED]
        await bench.settle("a", 1)
        assert await bench.budget("open:account:acct") == 1
        await bench.release("b")
        assert await bench.budget("open:account:acct") == 0
        assert (await bench.hold(slot(1))).status == GRANTED

    async def test_what_open_calls_hold_is_given_back_whatever_they_cost(self, bench: Bench) -> None:
        await bench.account()
        most = holding(EXACT, 3 * EXACT + 7)
        name = most.name
        assert [(await bench.hold(most, op=op)).status for op in "abcd"] == [GRANTED] * 3 + [DENIED]
        assert (await bench.hold(holding(7, 3 * EXACT + 7), op="e")).status == GRANTED
        assert await bench.budget(name) == 3 * EXACT + 7
        await bench.settle("a", 5)
        await bench.settle("b", 9 * EXACT)
        await bench.release("c")
        assert await bench.budget(name) == 7
        await bench.lapse("e")
        assert await bench.budget(name) == 0

    async def test_a_counter_is_put_only_where_there_is_none(self, bench: Bench) -> None:
        await bench.account()
        name = quota(1, 9).name
        until = bench.clock() + SECOND_US
        assert await bench.know(PutBudget(name, 5, until)) == [DONE]
        assert (await bench.hold(quota(1, 9))).values == (6,)
        assert await bench.know(PutBudget(name, 2, until), PutBudget("other", EXACT + 1, until)) == [
            DONE,
            DONE,
        ]
        assert await bench.budget(name) == 6
        assert await bench.budget("other") == EXACT + 1
