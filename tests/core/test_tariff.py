"""What a meter costs an account: the allowance of the plan first, then a price."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metergate.core.budget import UNBOUNDED
from metergate.core.policy import Included, Plan
from metergate.core.price import (
    Flat,
    Graduated,
    Package,
    PerUnit,
    Price,
    PriceRule,
    Rate,
    Tier,
    Volume,
    multiply,
)
from metergate.core.tariff import Tariff, larger_plan, tariff
from tests.core.world import a_policy, at

ALLOWANCE = Included(100)
TEN = at(10)[0]
STEPS = Graduated((Tier(50, Rate(4, 1)), Tier(200, Rate(2, 1), flat_nanos=7), Tier(None, Rate(1, 1))))


@pytest.mark.parametrize(
    ("found", "units", "before", "cost"),
    [
        (Tariff(TEN, None, False), 3, 0, 30),
        (Tariff(TEN, None, False), 0, 0, 0),
        (Tariff(TEN, None, False, (3, 2)), 3, 0, 45),
        (Tariff(TEN, ALLOWANCE, False), 100, 0, 0),
        (Tariff(TEN, ALLOWANCE, False), 101, 0, 10),
        (Tariff(TEN, ALLOWANCE, False), 5, 98, 30),
        (Tariff(TEN, ALLOWANCE, False), 5, 100, 50),
        (Tariff(TEN, ALLOWANCE, False), 5, 1000, 50),
        (Tariff(TEN, ALLOWANCE, False), 0, 1000, 0),
        (Tariff(None, ALLOWANCE, True), 5, 99, 0),
        (Tariff(PriceRule((), Flat(9)), None, False), 0, 0, 9),
        (Tariff(PriceRule((), Flat(9)), ALLOWANCE, False), 1, 99, 0),
        (Tariff(PriceRule((), Flat(9)), ALLOWANCE, False), 2, 99, 9),
        (Tariff(PriceRule((), Package(10, 30)), ALLOWANCE, False), 12, 99, 60),
        (Tariff(PriceRule((), STEPS), None, False), 60, 0, 50 * 4 + 10 * 2 + 7),
        (Tariff(PriceRule((), STEPS), ALLOWANCE, False), 60, 100, 50 * 4 + 10 * 2 + 7),
        (Tariff(PriceRule((), STEPS), ALLOWANCE, False), 1, 150, 2 + 7),
        (Tariff(PriceRule((), PerUnit(Rate(1, 1)), minimum_nanos=50), ALLOWANCE, False), 5, 98, 50),
    ],
)
def test_the_allowance_is_used_up_before_anything_costs(
    found: Tariff, units: int, before: int, cost: int
) -> None:
    assert found.cost(units, before) == cost


@pytest.mark.parametrize(
    ("found", "units", "before", "bounds"),
    [
        (Tariff(TEN, ALLOWANCE, False), 1, 0, (0, 100)),
        (Tariff(TEN, ALLOWANCE, False), 1, 99, (0, 100)),
        (Tariff(TEN, ALLOWANCE, False), 5, 98, (98, 103)),
        (Tariff(TEN, ALLOWANCE, False), 1, 100, (100, UNBOUNDED)),
        (Tariff(TEN, ALLOWANCE, False), 1, 5000, (100, UNBOUNDED)),
        (Tariff(TEN, ALLOWANCE, True), 5, 98, (0, 100)),
        (Tariff(TEN, ALLOWANCE, True), 5, 5000, (0, 100)),
        (Tariff(None, ALLOWANCE, True), 5, 98, (0, 100)),
        (Tariff(None, ALLOWANCE, False), 5, 98, (98, 103)),
        (Tariff(None, ALLOWANCE, False), 5, 100, (100, UNBOUNDED)),
        (Tariff(PriceRule((), STEPS), None, False), 1, 0, (0, 50)),
        (Tariff(PriceRule((), STEPS), ALLOWANCE, False), 1, 100, (100, 150)),
        (Tariff(PriceRule((), STEPS), ALLOWANCE, False), 1, 300, (300, UNBOUNDED)),
    ],
)
def test_a_stretch_is_where_the_same_units_cost_the_same(
    found: Tariff, units: int, before: int, bounds: tuple[int, int]
) -> None:
    assert found.bounds(units, before) == bounds


parts = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=4)


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    top, tiers = 0, []
    for width, rate, flat in draw(parts):
        top += width
        tiers.append(Tier(top, Rate(rate, 1), flat))
    tiers.append(Tier(None, Rate(draw(st.integers(0, 9)), 1)))
    shapes: list[Price] = [Graduated(tuple(tiers)), Volume(tuple(tiers)), PerUnit(Rate(3, 1))]
    rule = PriceRule((), draw(st.sampled_from(shapes)), minimum_nanos=draw(st.sampled_from((0, 5))))
    included = draw(st.none() | st.builds(Included, st.integers(0, 60)))
    return Tariff(rule, included, included is not None and draw(st.booleans()))


@given(tariffs(), st.integers(0, 40), st.integers(0, 200), st.integers(0, 200))
def test_wherever_a_draw_fits_its_stretch_it_costs_what_was_offered(
    found: Tariff, units: int, before: int, instead: int
) -> None:
    """So a call that others overtook is charged rightly or decided again, and never mispriced."""
    low, high = found.bounds(units, before)
    assume(low <= instead and instead + units <= high)
    # What is blocked beyond its allowance is offered as inside of it.
    offered = found.cost(units, 0 if found.blocks else before)
    assert not found.tiered or found.cost(units, instead) == offered


@given(tariffs(), st.integers(0, 40), st.integers(0, 200))
def test_a_call_fits_its_own_stretch_unless_the_allowance_blocks_it(
    found: Tariff, units: int, before: int
) -> None:
    low, high = found.bounds(units, before)
    fits = low <= before and before + units <= high
    assert fits is not (found.blocks and found.included is not None and before + units > found.included.units)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan("p"), Tariff(at(1)[0], None, False)),
        (Plan("p", prices={"calls": at(5)}), Tariff(at(5)[0], None, False)),
        (Plan("p", included={"calls": ALLOWANCE}), Tariff(at(1)[0], ALLOWANCE, True)),
        (Plan("p", included={"calls": ALLOWANCE}, on_exceed="overage"), Tariff(at(1)[0], ALLOWANCE, False)),
        (
            Plan("p", included={"calls": ALLOWANCE}, on_exceed="overage", prices={"calls": at(5)}),
            Tariff(at(5)[0], ALLOWANCE, False),
        ),
        (
            Plan("p", included={"calls": ALLOWANCE}, on_exceed="overage", overage={"calls": at(7)}),
            Tariff(at(7)[0], ALLOWANCE, False),
        ),
        (Plan("p", included={"calls": ALLOWANCE}, on_exceed="upgrade"), Tariff(at(1)[0], ALLOWANCE, True)),
        (Plan("p", overage={"calls": at(7)}), Tariff(at(1)[0], None, False)),
    ],
)
def test_the_price_of_the_plan_goes_before_that_of_the_policy(plan: Plan, expected: Tariff) -> None:
    assert tariff(a_policy(plan), plan, "calls") == expected


def test_what_has_neither_price_nor_allowance_is_not_sold() -> None:
    policy = a_policy(Plan("p"))
    assert tariff(policy, policy.plans["p"], "rows") is None
    gpt = (PriceRule((("model", "gpt-*"),), PerUnit(Rate(3, 1))),)
    policy = a_policy(Plan("p"), prices={"rows": gpt})
    assert tariff(policy, policy.plans["p"], "rows") is None
    assert tariff(policy, policy.plans["p"], "rows", (("model", "llama"),)) is None
    found = tariff(policy, policy.plans["p"], "rows", (("model", "gpt-4o"),))
    assert found is not None and found.rule == gpt[0]


def test_an_allowance_without_a_price_beyond_it_blocks() -> None:
    plan = Plan("p", included={"rows": ALLOWANCE}, on_exceed="overage")
    found = tariff(a_policy(plan), plan, "rows")
    assert found == Tariff(None, ALLOWANCE, True)


def test_a_multiplier_of_the_route_counts_beyond_the_allowance_only() -> None:
    plan = Plan("p", included={"calls": Included(10)}, on_exceed="overage")
    found = tariff(a_policy(plan), plan, "calls", multiplier=multiply("2.5"))
    assert found is not None
    assert [found.cost(4, before) for before in (0, 6, 8, 10)] == [0, 0, 5, 10]


@pytest.mark.parametrize(
    ("plan", "used", "next_plan"),
    [
        ("free", 11, "growth"),
        ("free", 100, "growth"),
        ("free", 101, "scale"),
        ("free", 1001, None),
        ("growth", 101, "scale"),
        ("growth", 50, "scale"),
        ("scale", 1001, None),
        ("elsewhere", 5, None),
    ],
)
def test_the_larger_plan_is_the_next_of_the_file_that_holds_the_usage(
    plan: str, used: int, next_plan: str | None
) -> None:
    sizes = {"free": 10, "growth": 100, "chat only": 0, "scale": 1000}
    plans = [Plan(id, included={"calls": Included(size)} if size else {}) for id, size in sizes.items()]
    policy = a_policy(*plans)
    found = larger_plan(policy, policy.plan(plan), "calls", used)
    assert (found.id if found else None) == next_plan
