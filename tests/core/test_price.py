"""A price turns units into nanos exactly, and rounds once."""

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core.money import COST_MAX, NANOS, MoneyError, round_half_up
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
    cost,
    draw_bounds,
    find,
    matches,
    multiply,
)

CENT = NANOS // 100
TIERS = (Tier(1000, Rate(10, 1)), Tier(5000, Rate(4, 1), flat_nanos=7), Tier(None, Rate(1, 2)))


def always(price: Price, minimum_nanos: int = 0) -> PriceRule:
    return PriceRule((), price, minimum_nanos=minimum_nanos)


counts = st.integers(0, 10_000)
rates = st.builds(Rate, st.integers(0, 1000), st.integers(1, 1000))
nanos = st.integers(0, 1000)
ratios = st.tuples(st.integers(0, 50), st.integers(1, 50))


small_rates = st.builds(Rate, st.integers(0, 9), st.integers(1, 3))
tier_parts = st.lists(st.tuples(st.integers(1, 30), small_rates, st.integers(0, 2)), min_size=1, max_size=4)


def ladder(parts: list[tuple[int, Rate, int]]) -> tuple[Tier, ...]:
    tops = [sum(width for width, _, _ in parts[: n + 1]) for n in range(len(parts) - 1)]
    return tuple(Tier(top, rate, flat) for top, (_, rate, flat) in zip([*tops, None], parts, strict=True))


tiers = tier_parts.map(ladder)
prices = st.one_of(
    st.builds(Flat, nanos),
    st.builds(PerUnit, rates),
    st.builds(Package, st.integers(1, 20), nanos),
    st.builds(Graduated, tiers),
    st.builds(Volume, tiers),
)


@pytest.mark.parametrize(
    ("price", "per", "rate"),
    [
        ("2.50", 1_000_000, Rate(2500, 1)),
        ("0.002", 1, Rate(2_000_000, 1)),
        ("0.15", 1_000_000, Rate(150, 1)),
        ("0.000000000000000001", 1, Rate(1, 10**9)),
        ("0", 7, Rate(0, 1)),
        ("1", 3, Rate(10**9, 3)),
    ],
)
def test_a_rate_is_read_exactly_and_reduced(price: str, per: int, rate: Rate) -> None:
    assert Rate.parse(price, per) == rate


@pytest.mark.parametrize(
    "price", ["", "-1", "1e-3", "1_0", " 1", ".5", "1.", "0.0000000000000000001", "1\n", "NaN"]
)
def test_a_price_that_is_no_decimal_is_refused(price: str) -> None:
    with pytest.raises(MoneyError):
        Rate.parse(price)
    with pytest.raises(MoneyError):
        multiply(price)


@pytest.mark.parametrize("per", [0, -1, True, 1.5])
def test_a_price_is_per_at_least_one_unit(per: int) -> None:
    with pytest.raises(MoneyError, match="per"):
        Rate.parse("1", per)


def test_a_multiplier_is_read_exactly() -> None:
    assert multiply("1.25") == (5, 4)
    assert multiply("0") == (0, 1)


@pytest.mark.parametrize(
    ("price", "units", "nanos"),
    [
        (Flat(CENT), 0, CENT),
        (Flat(CENT), 500, CENT),
        (PerUnit(Rate.parse("0.15", 1_000_000)), 303_652_583, 45_547_887_450),
        (PerUnit(Rate(1, 2)), 1, 1),
        (PerUnit(Rate(1, 2)), 0, 0),
        (PerUnit(Rate(1, 3)), 1, 0),
        (Package(1000, CENT), 0, 0),
        (Package(1000, CENT), 1, CENT),
        (Package(1000, CENT), 1000, CENT),
        (Package(1000, CENT), 1001, 2 * CENT),
    ],
)
def test_what_units_cost(price: Price, units: int, nanos: int) -> None:
    assert cost(always(price), units) == nanos


@pytest.mark.parametrize(
    ("before", "units", "graduated", "volume"),
    [
        (0, 0, 0, 0),
        (0, 1000, 10_000, 10_000),
        (0, 1001, 10_000 + 7 + 4, 1001 * 4 + 7),
        (999, 1, 10, 10),
        (999, 2, 10 + 7 + 4, 2 * 4 + 7),
        (1000, 0, 0, 0),
        (1000, 1, 7 + 4, 7 + 4),
        (1001, 1, 4, 4),
        (5000, 2, 1, 1),
        (0, 5002, 10_000 + 7 + 16_000 + 1, 2501),
    ],
)
def test_tiers_hold_their_top_and_take_their_flat_part_once(
    before: int, units: int, graduated: int, volume: int
) -> None:
    assert cost(always(Graduated(TIERS)), units, before) == graduated
    assert cost(always(Volume(TIERS)), units, before) == volume


@given(prices, counts, st.integers(0, 100), ratios, ratios, nanos)
def test_a_cost_is_the_exact_value_rounded_once(
    price: Price, units: int, before: int, own: tuple[int, int], given_: tuple[int, int], minimum: int
) -> None:
    exact = Fraction(*price.exact(units, before)) * Fraction(*own) * Fraction(*given_)
    rounded = round_half_up(exact.numerator, exact.denominator)
    rule = PriceRule((), price, own, minimum)
    assert cost(rule, units, before, given_) == (max(rounded, minimum) if units else rounded)


@given(tiers, st.integers(0, 80), st.lists(st.integers(0, 40), max_size=5))
def test_a_graduated_cost_is_the_same_however_the_units_are_split(
    steps: tuple[Tier, ...], before: int, split: list[int]
) -> None:
    price, total, used = Graduated(steps), Fraction(0), before
    for units in split:
        total += Fraction(*price.exact(units, used))
        used += units
    assert total == Fraction(*price.exact(sum(split), before))


@given(tiers, st.integers(1, 100))
def test_a_graduated_cost_is_the_sum_over_its_units(steps: tuple[Tier, ...], units: int) -> None:
    expected, bottom = Fraction(0), 0
    for tier in steps:
        inside = sum(1 for unit in range(1, units + 1) if bottom < unit <= (tier.up_to or unit))
        if inside:
            expected += tier.flat_nanos + inside * Fraction(tier.rate.numerator, tier.rate.denominator)
        bottom = tier.up_to or 0
    assert Fraction(*Graduated(steps).exact(units, 0)) == expected


@given(prices, counts, counts)
def test_more_units_never_cost_less_but_for_volume_tiers(price: Price, a: int, b: int) -> None:
    if not isinstance(price, Volume):
        assert cost(always(price), a) <= cost(always(price), a + b)


@pytest.mark.parametrize(
    ("before", "units", "graduated", "volume"),
    [
        (10, 0, (0, None), (0, None)),
        (10, 5, (0, 1000), (0, 1000)),
        (990, 20, (990, 1010), (981, 1020)),
        (1000, 20, (1000, 1020), (981, 1020)),
        (1001, 20, (1001, 5000), (1001, 5000)),
        (6000, 20, (5000, None), (4981, None)),
    ],
)
def test_the_bounds_of_a_draw(
    before: int, units: int, graduated: tuple[int, int | None], volume: tuple[int, int | None]
) -> None:
    assert draw_bounds(always(Graduated(TIERS)), before, units) == graduated
    assert draw_bounds(always(Volume(TIERS)), before, units) == volume


@given(prices, st.integers(0, 70), st.integers(0, 40))
def test_within_the_bounds_of_a_draw_its_cost_does_not_depend_on_what_others_used(
    price: Price, before: int, units: int
) -> None:
    rule = always(price)
    low, high = draw_bounds(rule, before, units)
    assert low <= before and (high is None or before + units <= high)
    for used in range(low, 120 if high is None else high - units + 1):
        assert cost(rule, units, used) == cost(rule, units, before)


MODELS = (
    PriceRule((("model", "gpt-4o-mini*"), ("kind", "input")), PerUnit(Rate.parse("0.15", 1_000_000))),
    PriceRule((("model", "gpt-4o*"), ("kind", "input")), PerUnit(Rate.parse("2.50", 1_000_000))),
    PriceRule((("model", "gpt-4o*"), ("kind", "output")), PerUnit(Rate.parse("10.00", 1_000_000))),
)


def test_the_first_rule_that_matches_prices() -> None:
    assert find(MODELS, {"model": "gpt-4o-mini-2024", "kind": "input"}) is MODELS[0]
    assert find(MODELS, {"model": "gpt-4o", "kind": "input", "user": "x"}) is MODELS[1]
    assert find(MODELS, {"model": "gpt-5", "kind": "input"}) is None
    assert find(MODELS, {"model": "gpt-4o"}) is None


@pytest.mark.parametrize(
    ("pattern", "value", "whether"),
    [
        ("gpt-*", "gpt-4", True),
        ("gpt-*", "GPT-4", False),
        ("gpt-?", "gpt-4o", False),
        ("[ab]", "b", True),
        ("*", "", True),
    ],
)
def test_patterns_are_globs_and_mind_capitals(pattern: str, value: str, whether: bool) -> None:
    assert matches(PriceRule((("model", pattern),), Flat(1)), {"model": value}) is whether


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Rate(-1, 1),
        lambda: Rate(1, 0),
        lambda: Flat(-1),
        lambda: Package(0, 1),
        lambda: Package(1, COST_MAX + 1),
        lambda: Flat(COST_MAX + 1),
        lambda: PriceRule((), Flat(1), minimum_nanos=COST_MAX + 1),
        lambda: Tier(None, Rate(1, 1), -1),
        lambda: Graduated(()),
        lambda: Graduated((Tier(10, Rate(1, 1)),)),
        lambda: Volume((Tier(None, Rate(1, 1)), Tier(None, Rate(1, 1)))),
        lambda: Volume((Tier(0, Rate(1, 1)), Tier(None, Rate(1, 1)))),
        lambda: Graduated((Tier(10, Rate(1, 1)), Tier(10, Rate(1, 1)), Tier(None, Rate(1, 1)))),
        lambda: PriceRule((), Flat(1), multiplier=(-1, 1)),
        lambda: PriceRule((), Flat(1), minimum_nanos=-1),
        lambda: cost(always(Flat(1)), -1),
        lambda: cost(always(Flat(1)), 1, before=-1),
    ],
)
def test_a_price_that_makes_no_sense_cannot_exist(wrong: Callable[[], object]) -> None:
    with pytest.raises(MoneyError):
        wrong()


@pytest.mark.parametrize(("price", "units"), [("1000", 2**53 - 1), ("0.001", 10**9 + 1), ("1000000.01", 1)])
def test_a_cost_beyond_a_million_is_refused(price: str, units: int) -> None:
    with pytest.raises(MoneyError, match=r"fewer units at once: their cost is above 1000000\.00"):
        cost(always(PerUnit(Rate.parse(price))), units)


def test_a_cost_of_exactly_a_million_is_charged() -> None:
    assert cost(always(PerUnit(Rate.parse("0.001"))), 10**9) == COST_MAX
