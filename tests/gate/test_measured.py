"""Measured calls that run together: each unit of the period is priced once, none is free by being small."""

import asyncio

import pytest

from metergate.core.money import NANOS
from metergate.core.policy import Included, Plan
from metergate.core.price import Graduated, PerUnit, PriceRule, Rate, Tier
from metergate.gate.call import Call
from metergate.testing.stores import AwaitingStore
from tests.gate.house import a_house, a_policy, a_route, at

PER_GIGABYTE = (PriceRule((), PerUnit(Rate.parse("0.05", 10**9))),)


PLAN = Plan("p", included={"rows": Included(1000)}, on_exceed="overage", overage={"rows": at(1)})


@pytest.fixture(params=[False, True], ids=["at once", "later"])
def later(request: pytest.FixtureRequest) -> bool:
    """Whether the store is behind a network."""
    return bool(request.param)


async def test_calls_that_run_together_share_one_allowance(later: bool) -> None:
    house = await a_house(a_policy(a_route(meter="rows"), plan=PLAN), balance=100_000, later=later)
    calls = [await house.call() for _ in range(50)]
    for call in calls:
        call.settle(1000)
    events = await house.events()
    assert sum(event.cost for event in events) == 49 * 1000
    assert await house.budget() == 100_000 - 49 * 1000


async def test_what_calls_hold_and_do_not_use_is_no_part_of_the_allowance(later: bool) -> None:
    """Wherever they stood when they were admitted, and whoever ends while others are being priced."""
    policy = a_policy(a_route(meter="rows", hold_units=400), plan=PLAN)
    house = await a_house(policy, balance=100_000, later=later)
    calls = [await house.call() for _ in range(50)]
    for number, call in enumerate(calls):
        call.settle(20)
        if number % 7 == 0:
            await asyncio.sleep(0)
    assert sum(event.cost for event in await house.events()) == 0
    (await house.call()).settle(3)
    assert [event.cost for event in await house.events()][-1] == 3
    assert await house.budget() == 100_000 - 3


async def test_a_call_that_cannot_be_placed_is_priced_from_where_it_was_admitted() -> None:
    house = await a_house(a_policy(a_route(meter="rows"), plan=PLAN), balance=100_000, later=True)
    assert isinstance(house.store, AwaitingStore)
    call = await house.call()
    house.store.away = True
    call.settle(1001)
    await asyncio.sleep(0.01)
    house.store.away = False
    assert [event.cost for event in await house.events()] == [1]


async def test_a_graduated_price_of_calls_that_run_together_is_that_of_their_sum(later: bool) -> None:
    tiers = Graduated((Tier(10, Rate.parse("0.000000002")), Tier(None, Rate.parse("0.000000001"))))
    policy = a_policy(a_route(meter="rows"), prices={"rows": (PriceRule((), tiers),)})
    house = await a_house(policy, balance=10_000, later=later)
    calls = [await house.call() for _ in range(4)]
    calls[2].release()
    for call, units in zip((calls[0], calls[1], calls[3]), (7, 8, 9), strict=True):
        call.settle(units)
    assert sum(event.cost for event in await house.events()) == 10 * 2 + 14 * 1
    late = await house.call()
    late.settle(5)
    assert (await house.events())[-1].cost == 5


async def test_a_hold_that_rounds_to_nothing_is_no_way_around_an_empty_balance() -> None:
    policy = a_policy(a_route(meter="rows"), prices={"rows": PER_GIGABYTE})
    house = await a_house(policy, balance=0)
    assert await house.reason() == "insufficient_credits"


async def test_a_free_first_tier_is_free_for_an_empty_balance() -> None:
    tiers = Graduated((Tier(100, Rate.parse("0")), Tier(None, Rate.parse("1"))))
    policy = a_policy(a_route(meter="rows"), prices={"rows": (PriceRule((), tiers),)})
    house = await a_house(policy, balance=0)
    call = await house.call()
    call.settle(101)
    assert await house.budget() == -NANOS
    assert await house.reason() == "insufficient_credits"


async def test_what_the_app_charges_ends_with_a_call_whose_usage_is_missing() -> None:
    house = await a_house(a_policy(a_route(meter="rows")), balance=1000)
    call = await house.call()
    charged = house.gate.charge(call, "calls", 3)
    assert isinstance(charged, Call)
    call.end_unmeasured("minimum", "missing")
    assert {event.terms.meter for event in await house.events()} == {"rows", "calls"}
    assert not house.gate.live
