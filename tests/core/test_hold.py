"""The life of a hold: it ends once, and what it says of itself is exact."""

import pytest

from metergate.core.budget import BALANCE, COST, QUOTA, RATE, UNITS, Draw
from metergate.core.hold import (
    DISPATCHED,
    HELD,
    NEW,
    RELEASED,
    SETTLED,
    TRANSITIONS,
    Outcome,
    Terms,
    UsageEvent,
    after,
    unknown_outcome,
)

STEPS = ("hold", "dispatch", "renew", "settle", "release", "expire")

LIFE = {
    NEW: (HELD, None, None, None, None, None),
    HELD: (HELD, DISPATCHED, HELD, SETTLED, RELEASED, RELEASED),
    DISPATCHED: (DISPATCHED, DISPATCHED, DISPATCHED, SETTLED, RELEASED, SETTLED),
    SETTLED: (None, None, None, SETTLED, None, None),
    RELEASED: (None, None, None, None, RELEASED, None),
}


@pytest.mark.parametrize("state", LIFE)
def test_every_step_from_every_state(state: str) -> None:
    assert tuple(after(state, step) for step in STEPS) == LIFE[state]


def test_the_table_names_no_other_state_or_step() -> None:
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(LIFE)
    assert {step for _, step in TRANSITIONS} == set(STEPS)


def test_no_way_leads_out_of_an_end() -> None:
    for end in (SETTLED, RELEASED):
        assert {after(end, step) for step in STEPS} == {None, end}


def test_a_call_whose_end_nobody_saw_costs_what_its_terms_say() -> None:
    draws = (
        Draw(RATE, "rate", 1, 10, 10),
        Draw(QUOTA, "used", 5, 0, 9, 0, UNITS),
        Draw(BALANCE, "credits:a", 500, 0, 0, 0, COST),
    )
    terms = Terms("a", "k", "p", "v", "", "GET /", "calls", "USD", draws, unknown_units=2, unknown_cost=70)
    assert unknown_outcome("op", "req", terms, ("twin", "print", 5), 9) == UsageEvent(
        "op", "req", 9, "", Outcome(2, (), 70, "unknown", (1, 2, 70), terms), ("twin", "print", 5)
    )
