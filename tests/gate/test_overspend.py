"""72 tasks on one account never spend more than it has."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from metergate.gate.call import Call
from metergate.ports import Adjust
from tests.gate.house import House, a_house, a_policy, at

TASKS = 72
Attempt = Callable[[int], Awaitable[bool]]
"""One more call, by its number; whether it was let in."""


async def let_in(attempt: Attempt) -> int:
    """How many calls are let in when every task calls until it is refused."""
    numbers = iter(range(10**6))

    async def task() -> int:
        count = 0
        while await attempt(next(numbers)):
            count += 1
        return count

    return sum(await asyncio.gather(*[task() for _ in range(TASKS)]))


def through_the_gate(house: House) -> Attempt:
    async def attempt(number: int) -> bool:
        admitted = await house.admit()
        if not isinstance(admitted, Call):
            return False
        admitted.dispatched()
        await asyncio.sleep(0)
        admitted.settle()
        return True

    return attempt


def checked_and_then_taken(house: House, price: int) -> Attempt:
    """What the gate does not do: look at the balance, and take from it a moment later."""

    async def attempt(number: int) -> bool:
        if await house.budget() < price:
            return False
        await house.tell(Adjust(f"call-{number}", "acct", -price))
        return True

    return attempt


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize(("price", "calls", "left"), [(1, 1000, 0), (7, 142, 6)])
async def test_as_many_calls_are_let_in_as_the_credits_buy(
    price: int, calls: int, left: int, later: bool
) -> None:
    house = await a_house(a_policy(prices={"calls": at(price)}), later=later, balance=1000)
    assert await let_in(through_the_gate(house)) == calls
    assert await house.budget() == left
    events = await house.events()
    assert len({event.op for event in events}) == len(events) == calls
    assert sum(event.cost for event in events) == 1000 - left


async def test_checking_first_and_taking_later_would_be_noticed() -> None:
    house = await a_house(a_policy(prices={"calls": at(7)}), later=True, balance=1000)
    assert await let_in(checked_and_then_taken(house, 7)) > 142
    assert await house.budget() < 0
