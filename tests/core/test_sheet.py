"""What a call costs whose units are of several kinds, each with its price."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core import decide
from metergate.core.asked import Asked
from metergate.core.budget import take
from metergate.core.kinds import KINDS, Counts, counts, total
from metergate.core.money import MoneyError, round_half_up
from metergate.core.policy import Included, Meter, Plan, Policy
from metergate.core.price import (
    ByPrompt,
    Flat,
    Graduated,
    Listed,
    PerUnit,
    Price,
    PriceRule,
    Rate,
    Tier,
)
from metergate.core.refusal import Refusal
from metergate.core.sheet import Sheet, sheet
from metergate.core.table import DAY_US, Listing, Span, Table, Variant
from metergate.core.tariff import tariff
from tests.core.world import NOW, a_caller, a_policy, a_route, offered


def rule(
    price: int | Price, multiplier: tuple[int, int] = (1, 1), minimum: int = 0, **when: str
) -> PriceRule:
    """So many nanos a unit, or any price, for these dimensions."""
    each = PerUnit(Rate(price, 1)) if isinstance(price, int) else price
    return PriceRule(tuple(when.items()), each, multiplier, minimum)


GPT = {"model": "gpt-4o-mini"}
CONTRACT = (rule(2, model="gpt-4o*", kind="input"), rule(10, model="gpt-4o*", kind="output"))


def cost(rules: tuple[PriceRule, ...], used: dict[str, int], **dimensions: str) -> int:
    return sheet(rules, dimensions or GPT, NOW).cost(counts(used))


@pytest.mark.parametrize(
    ("rules", "used", "nanos"),
    [
        (CONTRACT, {"input": 3, "output": 5}, 56),
        (CONTRACT, {"input": 3, "cached_input": 4, "cache_write_1h": 5, "audio_input": 6}, 36),
        (CONTRACT, {"reasoning": 3, "audio_output": 1}, 40),
        ((*CONTRACT, rule(1, model="gpt-4o*", kind="cached_input")), {"input": 3, "cached_input": 4}, 10),
        ((rule(1, model="gpt-4o*", kind="cached_input"), *CONTRACT), {"input": 3, "cached_input": 4}, 10),
        ((*CONTRACT, rule(7)), {"input": 3, "cached_input": 4, "output": 1}, 24),
        ((*CONTRACT, rule(7, kind="cached_input")), {"cached_input": 4}, 8),
        ((rule(7, model="gpt-4o-mini", kind="input"), *CONTRACT), {"input": 1, "output": 1}, 17),
        ((rule(3),), {"input": 2, "output": 2}, 12),
        ((rule(3, kind="*output"), rule(1)), {"input": 2, "output": 2, "audio_output": 2}, 14),
        ((rule(Flat(9)),), {"input": 2, "output": 2}, 9),
        ((*CONTRACT, rule(100, kind="search")), {"input": 1, "search": 2}, 202),
        (
            (rule(2, minimum=50, kind="input"), rule(1, minimum=20, kind="output")),
            {"input": 3, "output": 1},
            50,
        ),
        ((rule(2, multiplier=(3, 2), kind="input"), rule(1, kind="output")), {"input": 3, "output": 1}, 10),
    ],
)
def test_each_kind_has_the_nearest_price_of_the_first_that_fit(
    rules: tuple[PriceRule, ...], used: dict[str, int], nanos: int
) -> None:
    """Where none is for the kind itself, that of its parent is; their order in a list is no matter."""
    assert cost(rules, used) == nanos


def test_a_kind_without_a_price_is_never_free() -> None:
    """Nor are searches, which no token's price is for."""
    for rules, used in (
        ((rule(2, kind="input"),), {"output": 1}),
        (CONTRACT, {"search": 1}),
        ((rule(3),), {"search": 1}),
        ((), {"input": 1}),
    ):
        with pytest.raises(MoneyError, match="a price"):
            cost(rules, used)
    with pytest.raises(MoneyError):
        cost(CONTRACT, {"input": 1}, model="another")


def test_a_price_by_the_length_of_the_prompt_holds_for_all_of_the_call() -> None:
    """What was cached is a part of the prompt; a prompt of just that length is not longer."""
    long = ByPrompt(Rate(1, 1), ((100, Rate(2, 1)), (200, Rate(5, 1))))
    rules = (rule(long, kind="input"), rule(ByPrompt(Rate(10, 1), ((100, Rate(30, 1)),)), kind="output"))
    assert cost(rules, {"input": 100, "output": 1}) == 110
    assert cost(rules, {"input": 60, "cached_input": 41, "output": 1}) == 232
    assert cost(rules, {"input": 201, "output": 1000}) == 31005


def test_the_sum_is_rounded_once() -> None:
    third = PerUnit(Rate(1, 3))
    rules = (rule(third, kind="input"), rule(third, kind="output"))
    assert cost(rules, {"input": 1, "output": 1}) == 1


def test_kinds_of_one_price_stand_together_in_its_tiers() -> None:
    """The quantity of the period is that of all kinds."""
    tiers = Graduated((Tier(10, Rate(5, 1)), Tier(None, Rate(1, 1))))
    found = sheet((rule(tiers),), GPT, NOW)
    assert found.cost(counts({"input": 6, "output": 6})) == 52
    assert found.cost(counts({"input": 6, "output": 6}), before=8) == 20


@given(
    st.dictionaries(st.sampled_from(KINDS), st.integers(0, 10**6), max_size=6),
    st.dictionaries(
        st.sampled_from(KINDS), st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)), max_size=9
    ),
)
def test_the_cost_is_the_sum_over_the_kinds(used: dict[str, int], prices: dict[str, tuple[int, int]]) -> None:
    """Whatever has a price: exact, and rounded half up."""
    rules = tuple(rule(PerUnit(Rate(*price)), kind=kind) for kind, price in prices.items())
    found = sheet(rules, {}, NOW)
    known = {kind: units for kind, units in used.items() if kind in found.rules}
    denominator = 1
    for _, below in prices.values():
        denominator *= below
    exact = 0
    for kind, units in known.items():
        price = found.rules[kind].price
        assert isinstance(price, PerUnit)
        exact += units * price.rate.numerator * denominator // price.rate.denominator
    assert found.cost(counts(known)) == round_half_up(exact, denominator)


def listing(id: str, *dated: tuple[Span, dict[str, int]], variants: tuple[Variant, ...] = ()) -> Listing:
    prices = [(span, {kind: PerUnit(Rate(nanos, 1)) for kind, nanos in each.items()}) for span, each in dated]
    return Listing(id, re.compile(rf"\A{id}"), prices, variants)


TABLE = Table(
    "prices 1 maker",
    [
        listing("big", (Span(NOW), {"input": 5, "output": 50}), (Span(), {"input": 9, "output": 90})),
        listing(
            "night",
            (Span(hours_us=(22 * 3600 * 10**6, 6 * 3600 * 10**6)), {"input": 1, "output": 1}),
            (Span(), {"input": 4, "output": 4}),
        ),
        listing(
            "tiers",
            (Span(), {"input": 4, "cached_input": 1, "output": 8}),
            variants=(
                Variant({"service_tier": "flex"}, Span(), {"input": PerUnit(Rate(2, 1))}),
                Variant({"service_tier": "fast"}, Span(NOW + 1), {"input": PerUnit(Rate(3, 1))}),
            ),
        ),
    ],
)
LISTED = rule(Listed(TABLE))


def test_a_table_knows_what_a_model_costs_at_an_instant() -> None:
    """The past keeps its prices, and the hours of a day theirs."""
    used = counts({"input": 1, "output": 1})
    assert sheet((LISTED,), {"model": "BIG-one"}, NOW - 1).cost(used) == 99
    assert sheet((LISTED,), {"model": "BIG-one"}, NOW).cost(used) == 55
    hour = DAY_US // 24
    costs = [
        sheet((LISTED,), {"model": "night"}, NOW + n * hour).cost(used) for n in (0, 5, 6, 12, 21, 22, 23)
    ]
    assert costs == [2, 2, 8, 8, 8, 2, 2]


def test_a_table_knows_services_that_are_not_the_ordinary_one() -> None:
    """What a variant does not name stays as it is."""

    def of(**more: str) -> Sheet:
        return sheet((LISTED,), {"model": "tiers", **more}, NOW)

    used = counts({"input": 1, "cached_input": 1, "output": 1})
    assert of().cost(used) == 13
    assert of(service_tier="flex").cost(used) == 11
    assert of(service_tier="fast").cost(used) == 13
    for unknown in ({"service_tier": "unknown"}, {"service_tier": "flex", "speed": "fast"}):
        assert of(**unknown).unknown(used) == ["input", "cached_input", "output"]


def test_prices_of_the_policy_go_before_those_of_its_table() -> None:
    """For a kind, for a model, and for what the table does not know; the margin is of the table's line."""
    rules = (
        rule(7, model="big*", kind="input"),
        rule(1, kind="cached_input"),
        rule(Listed(TABLE), multiplier=(6, 5)),
        rule(100),
    )
    used = counts({"input": 10, "cached_input": 10, "output": 10})
    assert sheet(rules, {"model": "big"}, NOW).cost(used) == 70 + 70 + 600
    assert sheet(rules, {"model": "tiers"}, NOW).cost(used) == 48 + 10 + 96
    assert sheet(rules, {"model": "unknown"}, NOW).cost(used) == 1000 + 10 + 1000
    assert sheet(rules, {"model": "big"}, NOW).source == TABLE.name
    assert sheet(rules, {"model": "unknown"}, NOW).source == ""
    assert sheet((LISTED,), {"model": "unknown"}, NOW).rules == {}
    assert sheet((LISTED,), {}, NOW).rules == {}


def test_a_table_may_be_asked_for_any_name() -> None:
    """It remembers what it was asked, and not all of it."""
    for number in range(5000):
        assert TABLE.find(f"nothing-{number}") is None
    found = TABLE.find("big")
    assert found is not None and found.id == "big"


TOKENS = {"tokens": Meter("tokens", "llm")}


def world(*plans: Plan, rules: tuple[PriceRule, ...] = CONTRACT) -> Policy:
    return a_policy(*plans, meters=TOKENS, prices={"tokens": rules})


def ask(used: dict[str, int], model: str = "gpt-4o", **more: str) -> Asked:
    held = counts(used)
    return Asked((("model", model), *more.items()), total(held), held)


def test_what_a_request_asks_for_is_held() -> None:
    route = a_route(meter="tokens")
    found = offered(world(), route=route, asked=ask({"input": 100, "output": 1000}))
    assert (found.units, found.cost) == (1100, 10_200)
    assert decide.settled(found, 60, 0, counts({"input": 50, "output": 10}))[0] == 200
    by_amount = offered(world(), route=a_route(meter="tokens", hold_nanos=5), asked=ask({"input": 1}))
    assert by_amount.cost == 5


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        (ask({"input": 1}, "claude"), "No price is known for the model claude; choose another model."),
        (
            ask({"input": 1}, "claude", speed="fast"),
            "No price is known for the model claude with speed fast; choose another service.",
        ),
        (
            Asked((), 1, (("input", 1),)),
            'No price is known for a call without a model; name one, such as "model": "gpt-4o".',
        ),
    ],
)
def test_a_model_without_a_price_is_refused(asked: Asked, detail: str) -> None:
    """Unless the last price of the list is for all that is left."""
    refusal = decide.offer(world(), a_caller(), a_route(meter="tokens"), {}, NOW, asked=asked)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.detail) == ("no_price", detail)
    for last, nanos in ((rule(7), 7), (rule(0), 1)):
        assert (
            offered(world(rules=(*CONTRACT, last)), route=a_route(meter="tokens"), asked=asked).cost
            >= nanos - 1
        )


def test_a_price_of_zero_is_free_for_an_empty_balance() -> None:
    """It was said to be free, and nothing of it can come to cost something."""
    found = offered(world(rules=(rule(0),)), route=a_route(meter="tokens"), asked=ask({"input": 5}))
    assert found.cost == 0


def test_an_allowance_covers_any_kind_of_any_model() -> None:
    """What is beyond it has its price; of what has none nothing is sold beyond it."""
    plan = Plan("p", included={"tokens": Included(100)}, on_exceed="overage")
    route = a_route(meter="tokens")
    inside = offered(world(plan), route=route, asked=ask({"input": 40, "output": 60}))
    assert inside.cost == 0
    assert decide.settled(inside, 100, 0, counts({"input": 40, "output": 60}))[0] == 0
    assert decide.settled(inside, 110, 0, counts({"input": 40, "output": 70}))[0] == 100
    assert decide.settled(inside, 110, 95, counts({"input": 40, "output": 70}))[0] == 35 * 2 + 70 * 10
    assert offered(world(plan), route=route, asked=ask({"input": 40}, "claude")).cost == 0
    beyond = offered(world(plan), route=route, asked=ask({"input": 101}, "claude"))
    (tally,) = beyond.terms.draws
    assert take(tally, 0, NOW) is None


def test_usage_that_is_reported_names_its_kind() -> None:
    """Then it has that kind's price; without one nothing says what it costs."""
    policy = world()
    dimensions = (("model", "gpt-4o"), ("kind", "output"))
    found = tariff(policy, Plan(""), "tokens", dimensions)
    assert found is not None and found.cost(5) == 50
    known = a_route(meter="tokens", dimensions=dimensions)
    assert offered(policy, route=known, units=5).cost == 50
    refusal = decide.offer(policy, a_caller(), a_route(meter="tokens"), {}, NOW, units=5)
    assert isinstance(refusal, Refusal) and refusal.reason == "no_price"


counted = st.dictionaries(st.sampled_from(KINDS), st.integers(0, 10**6)).map(counts)


@given(counted)
def test_counts_have_one_form(found: Counts) -> None:
    """In the order of the kinds, without zeros."""
    assert counts(dict(found)) == found
    assert [kind for kind, _ in found] == [kind for kind in KINDS if kind in dict(found)]
    assert all(units > 0 for _, units in found)
