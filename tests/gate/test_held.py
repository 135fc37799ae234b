"""How much the open calls of somebody may hold together."""

import asyncio

import pytest

from metergate.core.policy import Concurrency
from metergate.core.refusal import Refusal
from metergate.gate.call import Call
from tests.gate.house import House, a_house, a_policy, a_route, at, soon

HELD = "held:account:acct"
TASKS = 72


@pytest.fixture(params=[False, True], ids=["at once", "later"])
def later(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def bounded(*, later: bool, held: int = 20, price: int = 7) -> House:
    """Calls that hold 7 nanos each, and at most so many together."""
    prices = {"calls": at(price), "images": at(5), "rows": at(7)}
    policy = a_policy(concurrency=(Concurrency(held=held),), prices=prices)
    return await a_house(policy, later=later, balance=10_000)


async def test_calls_that_race_never_hold_more_together(later: bool) -> None:
    """Every one of them is refused or open together with at most one other, and nothing of it is left."""
    house = await bounded(later=later)
    holding, most, let_in, refused = 0, 0, 0, 0

    async def task(number: int) -> None:
        nonlocal holding, most, let_in, refused
        for _ in range(10):
            admitted = await house.admit()
            if isinstance(admitted, Refusal):
                assert admitted.reason == "too_many_open"
                refused += 1
                await asyncio.sleep(0)
                continue
            assert isinstance(admitted, Call)
            let_in += 1
            holding += admitted.cost
            most = max(most, holding)
            await asyncio.sleep(0)
            holding -= admitted.cost
            if number % 2:
                admitted.dispatched()
                admitted.settle()
            else:
                admitted.release()

    await asyncio.gather(*[task(number) for number in range(TASKS)])
    assert most == 14
    assert refused > 0 and let_in + refused == 10 * TASKS
    assert await house.budget(HELD) == 0


async def test_what_a_call_holds_later_on_counts_until_the_call_ends(later: bool) -> None:
    house = await bounded(later=later)
    call = await house.call()
    charge = await soon(house.gate.charge(call, "images", 2))
    assert isinstance(charge, Call)
    assert await house.budget(HELD) == 17
    refused = await soon(house.gate.charge(call, "images", 1))
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.required, refused.available) == ("too_many_open", 5, 3)
    assert await house.reason() == "too_many_open"
    call.settle()
    assert await house.budget(HELD) == 0
    assert await house.reason() == ""


async def test_a_call_is_given_back_as_held_whatever_it_comes_to(later: bool) -> None:
    """Rows are known only at the end: more of them are charged than were held."""
    house = await bounded(later=later)
    call = await house.call(route=a_route(meter="rows"))
    assert await house.budget(HELD) == 7
    call.settle(50)
    assert await house.budget(HELD) == 0
    assert await house.budget() == 10_000 - 350


async def test_what_has_happened_already_is_counted_whatever_is_held(later: bool) -> None:
    house = await bounded(later=later, held=7)
    await house.call()
    member = await house.member()
    reported = house.gate.record(member, house.route, 100, None, house.gate.request_id(), None)
    recorded = await soon(reported)
    assert isinstance(recorded, Call)
    assert await house.budget(HELD) == 7
    recorded.settle()
    assert await house.budget() == 10_000 - 7 - 700


async def test_a_call_that_costs_nothing_is_never_in_the_way_of_another(later: bool) -> None:
    house = await bounded(later=later, price=0)
    assert [draw.name for draw in (await house.call()).prepared.draws] == []
