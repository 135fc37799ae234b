"""Calls whose request says what they may cost: prepared once for those alike, held for more as they go."""

import re

import pytest

from metergate.core.asked import Asked
from metergate.core.kinds import counts, total
from metergate.core.policy import Included, Meter, Plan, Policy
from metergate.core.price import Graduated, Listed, PerUnit, PriceRule, Rate, Tier
from metergate.core.refusal import Refusal
from metergate.core.table import Listing, Span, Table
from metergate.gate.call import Call, Reserve
from metergate.gate.gate import Admitted
from metergate.gate.members import ASKED
from metergate.testing.clock import FakeClock
from tests.gate.house import House, a_house, a_policy, a_route, soon

IN, OUT = 2, 10
METERS = {"tokens": Meter("tokens", "llm")}
RULES = tuple(
    PriceRule((("model", "m"), ("kind", kind)), PerUnit(Rate(nanos, 1)))
    for kind, nanos in (("input", IN), ("output", OUT))
)


def world(rules: tuple[PriceRule, ...] = RULES, **fields: object) -> Policy:
    return a_policy(a_route(meter="tokens"), meters=METERS, prices={"tokens": rules}, **fields)  # type: ignore[arg-type]  # fields by their names


def ask(input: int = 0, output: int = 0, model: str = "m") -> Asked:
    held = counts({"input": input, "output": output})
    return Asked((("model", model),), total(held), held)


@pytest.fixture(params=[False, True], ids=["at once", "later"])
def later(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def admit(house: House, asked: Asked) -> Admitted:
    gate = house.gate
    return await soon(gate.admit(await house.member(), house.route, "/", gate.request_id(), None, asked))


async def call(house: House, asked: Asked) -> Call:
    admitted = await admit(house, asked)
    assert isinstance(admitted, Call)
    admitted.dispatched()
    return admitted


async def test_what_is_asked_is_held_and_what_was_used_is_charged(later: bool) -> None:
    house = await a_house(world(), later=later, balance=1000)
    asked = await call(house, ask(10, 50))
    assert await house.budget() == 1000 - 10 * IN - 50 * OUT
    asked.settle(13, counts=counts({"input": 8, "output": 5}))
    assert await house.budget() == 1000 - 8 * IN - 5 * OUT
    (event,) = await house.events()
    assert event.outcome.dimensions == (("model", "m"), ("input", "8"), ("output", "5"))
    refused = await admit(house, ask(0, 100))
    assert isinstance(refused, Refusal) and refused.reason == "insufficient_credits"


async def test_requests_alike_are_prepared_once(later: bool) -> None:
    """And not more of them are remembered than a caller needs."""
    house = await a_house(world(), later=later, balance=10**6)
    first, again, other = [await call(house, asked) for asked in (ask(10, 5), ask(10, 5), ask(10, 6))]
    assert first.prepared is again.prepared
    assert first.prepared is not other.prepared
    for output in range(100):
        (await call(house, ask(1, output))).release()
    assert len((await house.member()).asked) <= ASKED


async def test_a_price_that_changes_at_an_instant_is_the_one_of_the_call() -> None:
    """A call that was admitted before keeps its own."""
    clock = FakeClock()
    dated = [
        (Span(clock() + 60_000_000), {"input": PerUnit(Rate(5, 1))}),
        (Span(), {"input": PerUnit(Rate(3, 1))}),
    ]
    rules = (PriceRule((), Listed(Table("t", [Listing("m", re.compile("m"), dated)]))),)
    house = await a_house(world(rules), balance=10_000)
    before = await call(house, ask(100))
    house.clock.advance(seconds=60)
    after = await call(house, ask(100))
    assert (before.cost, after.cost) == (300, 500)
    before.settle(10, counts=(("input", 10),))
    after.settle(10, counts=(("input", 10),))
    assert [event.cost for event in await house.events()] == [30, 50]


async def test_a_kind_without_a_price_costs_what_missing_usage_costs() -> None:
    """Never nothing."""
    house = await a_house(world(), balance=1000)
    asked = await call(house, ask(10, 20))
    asked.settle(31, counts=counts({"input": 10, "output": 20, "search": 1}))
    (event,) = await house.events()
    assert (event.cost, event.measured, event.units) == (10 * IN + 20 * OUT, "held", 30)


async def test_a_reserve_is_given_back_when_its_call_ends(later: bool) -> None:
    """After the call was charged, so that nobody can spend it in between; and it leaves no row."""
    house = await a_house(world(), later=later, balance=1000)
    running = await call(house, ask(10, 10))
    reserve = await soon(house.gate.reserve(running, ask(output=50)))
    assert isinstance(reserve, Reserve)
    reserve.dispatched()
    assert await house.budget() == 1000 - 10 * IN - 60 * OUT
    refused = await soon(house.gate.reserve(running, ask(output=50)))
    assert isinstance(refused, Refusal) and refused.reason == "insufficient_credits"
    running.settle(65, counts=counts({"input": 10, "output": 55}))
    assert await house.budget() == 1000 - 10 * IN - 55 * OUT
    assert not house.gate.live
    assert [event.units for event in await house.events()] == [65]


async def test_a_reserve_of_a_call_that_is_released_is_given_back(later: bool) -> None:
    house = await a_house(world(), later=later, balance=1000)
    running = await call(house, ask(10, 10))
    await soon(house.gate.reserve(running, ask(output=50)))
    running.release()
    assert await house.budget() == 1000
    assert not house.gate.live
    assert await house.events() == []


async def test_an_allowance_counts_tokens_of_every_kind(later: bool) -> None:
    """What is beyond it is paid; calls that run together share it."""
    plan = Plan("p", included={"tokens": Included(100)}, on_exceed="overage")
    house = await a_house(world(plan=plan), later=later, balance=10_000)
    calls = [await call(house, ask(20, 30)) for _ in range(3)]
    for each in calls:
        each.settle(50, counts=counts({"input": 20, "output": 30}))
    assert sorted(event.cost for event in await house.events()) == [0, 0, 20 * IN + 30 * OUT]


async def test_tiers_count_tokens_of_every_kind() -> None:
    tiers = Graduated((Tier(100, Rate(3, 1)), Tier(None, Rate(1, 1))))
    house = await a_house(world((PriceRule((), tiers),)), balance=10_000)
    for cost in (80 * 3, 20 * 3 + 60):
        each = await call(house, ask(40, 40))
        each.settle(80, counts=counts({"input": 40, "output": 40}))
        assert (await house.events())[-1].cost == cost
