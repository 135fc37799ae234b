"""Budgets: one integer each, taken all or not at all, and corrected once the truth is known."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metergate.core.budget import (
    BALANCE,
    CALL,
    COST,
    QUOTA,
    RATE,
    SLOTS,
    UNBOUNDED,
    UNITS,
    Draw,
    actual_amounts,
    correct,
    remaining,
    retry_after_us,
    take,
)

NOW = 1_000_000


def draw(kind: int, amount: int, low: int = 0, high: int = 0) -> Draw:
    return Draw(kind, "b", amount, low, high)


@pytest.mark.parametrize(
    ("wanted", "value", "after"),
    [
        (draw(BALANCE, 3), 3, 0),
        (draw(BALANCE, 3), 2, None),
        (draw(BALANCE, 0), 0, 0),
        (draw(BALANCE, 0), -1, None),
        (draw(BALANCE, 0, low=-UNBOUNDED), -1, -1),
        (draw(BALANCE, 3, low=-5), -2, -5),
        (draw(BALANCE, 4, low=-5), -2, None),
        (draw(QUOTA, 3, 0, 10), 7, 10),
        (draw(QUOTA, 3, 0, 10), 8, None),
        (draw(QUOTA, 3, 8, 20), 7, None),
        (draw(QUOTA, 3, 8, 20), 8, 11),
        (draw(QUOTA, 0, 0, 10), 11, None),
        (draw(QUOTA, 10**15, 0, UNBOUNDED), 10**15, 2 * 10**15),
        (draw(RATE, 1, 10, 20), 0, NOW + 10),
        (draw(RATE, 2, 10, 20), NOW - 5, NOW + 20),
        (draw(RATE, 3, 10, 20), 0, None),
        (draw(RATE, 1, 10, 20), NOW + 10, NOW + 20),
        (draw(RATE, 1, 10, 20), NOW + 11, None),
        (draw(RATE, 0, 10, 20), NOW + 20, NOW + 20),
        (draw(SLOTS, 1, 0, 2), 1, 2),
        (draw(SLOTS, 1, 0, 2), 2, None),
        (draw(SLOTS, 1, 0, 0), 0, None),
    ],
)
def test_a_draw_is_taken_when_it_fits(wanted: Draw, value: int, after: int | None) -> None:
    assert take(wanted, value, NOW) == after


@pytest.mark.parametrize(
    ("held", "value", "actual", "after"),
    [
        (draw(BALANCE, 10), 90, 10, 90),
        (draw(BALANCE, 10), 90, 4, 96),
        (draw(BALANCE, 10), 90, 0, 100),
        (draw(BALANCE, 10), 0, 25, -15),
        (draw(QUOTA, 10), 30, 4, 24),
        (draw(QUOTA, 10), 30, 25, 45),
        (draw(QUOTA, 10), 5, 0, 0),
        (draw(RATE, 1, 10, 20), NOW + 10, 0, NOW + 10),
        (draw(SLOTS, 1), 3, 1, 2),
        (draw(SLOTS, 1), 3, 0, 2),
        (draw(SLOTS, 1), 0, 1, 0),
    ],
)
def test_a_held_amount_is_corrected_to_the_actual_one(
    held: Draw, value: int, actual: int, after: int
) -> None:
    """A rate is never given back, a slot always is, and no counter falls below zero."""
    assert correct(held, value, actual) == after


amounts = st.integers(0, 100)
values = st.integers(-200, 200)
giving_back = st.sampled_from((BALANCE, QUOTA))


@given(giving_back, values, amounts, amounts)
def test_taking_and_correcting_is_taking_the_actual_amount(
    kind: int, value: int, held: int, actual: int
) -> None:
    wanted = draw(kind, held, -UNBOUNDED, UNBOUNDED)
    taken = take(wanted, value, NOW)
    exactly = take(wanted._replace(amount=actual), value, NOW)
    assert taken is not None and exactly is not None
    assume(kind == BALANCE or exactly >= 0)
    assert correct(wanted, taken, actual) == exactly


@given(st.lists(st.tuples(amounts, st.booleans()), max_size=30), st.integers(0, 300))
def test_what_is_taken_from_a_balance_never_exceeds_it(steps: list[tuple[int, bool]], credit: int) -> None:
    value, spent = credit, 0
    for amount, settles in steps:
        wanted = draw(BALANCE, amount)
        taken = take(wanted, value, NOW)
        if taken is not None:
            actual = amount if settles else amount // 2
            value, spent = correct(wanted, taken, actual), spent + actual
    assert spent + value == credit and value >= 0


@given(st.integers(1, 50), st.integers(1, 5), st.lists(st.integers(0, 60), max_size=60))
def test_a_rate_lets_a_burst_and_one_call_per_interval_through(
    interval: int, burst: int, pauses: list[int]
) -> None:
    limit = draw(RATE, 1, interval, interval * burst)
    arrival, now = 0, NOW
    granted: list[int] = []
    for pause in pauses:
        now += pause
        taken = take(limit, arrival, now)
        if taken is not None:
            arrival = taken
            granted.append(now)
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            assert last - first + 1 <= burst + (granted[last] - granted[first]) // interval


@given(st.integers(1, 50), st.integers(1, 5), st.integers(1, 3), st.integers(0, 500))
def test_a_refused_rate_says_to_the_microsecond_when_it_fits(
    interval: int, burst: int, amount: int, ahead: int
) -> None:
    limit = draw(RATE, amount, interval, interval * burst)
    assume(amount <= burst)
    wait = retry_after_us(limit, NOW + ahead, NOW)
    assert take(limit, NOW + ahead, NOW + wait) is not None
    assert wait == 0 or take(limit, NOW + ahead, NOW + wait - 1) is None


@given(st.sampled_from((BALANCE, QUOTA, RATE, SLOTS)), values, st.integers(1, 9), st.integers(0, 60))
def test_what_remains_is_what_single_draws_can_still_take(kind: int, value: int, low: int, high: int) -> None:
    wanted = draw(kind, 1, low if kind in (BALANCE, RATE) else -UNBOUNDED, high)
    value = NOW + value if kind == RATE else value
    left = remaining(wanted, value, NOW)
    taken = 0
    after: int | None = value
    while (after := take(wanted, after or 0, NOW)) is not None:
        taken += 1
    assert left == taken


def test_actual_amounts_follow_the_cost_the_units_or_nothing() -> None:
    draws = tuple(Draw(QUOTA, str(n), 7, 0, 9, 0, follows) for n, follows in enumerate((COST, UNITS, CALL)))
    assert actual_amounts(draws, units=3, cost=500) == (500, 3, 7)


def test_a_clock_that_goes_back_stops_nobody() -> None:
    """An arrival that no call can have caused is of a time that is no more."""
    draw = Draw(RATE, "rate", 1, 10**6, 60 * 10**6)
    hour = 3600 * 10**6
    value = take(draw, 0, 2 * hour)
    assert value is not None
    assert take(draw, value, hour) == hour + 10**6
    assert remaining(draw, value, hour) == 60
