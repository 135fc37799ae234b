"""Calls that arrive in one turn of the event loop are asked for together, and each hears its own verdict."""

import asyncio
from collections.abc import Awaitable, Sequence

import pytest

from metergate.core.facts import AccountFacts
from metergate.core.refusal import Refusal
from metergate.gate.arrivals import Headers
from metergate.gate.call import Call
from metergate.gate.gate import Admitted
from metergate.gate.members import Member
from metergate.gate.routes import MeteredCall
from metergate.ports import Held, Hold, PutAccount, PutKey
from metergate.store.embedded import EmbeddedStore
from metergate.testing.stores import AwaitingStore
from tests.gate.house import House, a_house, a_policy, key_facts

both = pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])


async def prepared_house(*, later: bool, balance: int = 100) -> House:
    house = await a_house(a_policy(), later=later, balance=balance + 1)
    assert await house.reason() == ""  # the first call of a caller on a route prepares the others
    return house


async def soon(house: House) -> Admitted:
    member = await house.member()
    house.gate.who = lambda _: member
    admitted = await house.gate.arrivals.admit(MeteredCall(house.route, "/"), ())
    assert admitted is not None
    return await admitted if isinstance(admitted, Awaitable) else admitted


async def together(house: House, count: int) -> Sequence[Admitted]:
    return await asyncio.gather(*[soon(house) for _ in range(count)])


@both
async def test_exactly_what_the_balance_allows_is_admitted(later: bool) -> None:
    house = await prepared_house(later=later)
    admitted = await together(house, 150)
    assert [type(each) for each in admitted] == [Call] * 100 + [Refusal] * 50
    assert {each.reason for each in admitted if isinstance(each, Refusal)} == {"insufficient_credits"}
    for each in admitted:
        if isinstance(each, Call):
            each.settle()
    assert await house.budget() == 0
    assert len(await house.events()) == 101


class Counting(EmbeddedStore):
    def __init__(self) -> None:
        super().__init__(None)
        self.sizes: list[int] = []

    def hold(self, batch: Sequence[Hold], now_us: int) -> Sequence[Held]:
        self.sizes.append(len(batch))
        return super().hold(batch, now_us)


@both
async def test_they_travel_in_one_batch(later: bool) -> None:
    store = Counting()
    house = House(a_policy(), AwaitingStore(store) if later else store)
    await house.tell(PutAccount(AccountFacts("acct", "p"), 100), PutKey(key_facts()))
    assert await house.reason() == ""
    await together(house, 40)
    assert store.sizes == [1, 40]


@both
async def test_who_has_left_before_the_verdict_pays_nothing(later: bool) -> None:
    house = await prepared_house(later=later)
    staying, leaving = asyncio.create_task(soon(house)), asyncio.create_task(soon(house))
    await asyncio.sleep(0)
    leaving.cancel()
    assert isinstance(await staying, Call)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await house.budget() == 99
    assert list(house.gate.live.values()) == [await staying]


@both
async def test_a_revoked_key_is_turned_away_among_others(later: bool) -> None:
    house = await prepared_house(later=later)
    await house.tell(PutKey(key_facts(revoked=True)))
    admitted = await together(house, 3)
    assert [each.reason for each in admitted if isinstance(each, Refusal)] == ["key_revoked"] * 3
    assert await house.budget() == 100


async def test_a_store_that_is_away_admits_nobody() -> None:
    house = await prepared_house(later=True)
    assert isinstance(house.store, AwaitingStore)
    house.store.away = True
    admitted = await together(house, 3)
    assert [each.reason for each in admitted if isinstance(each, Refusal)] == ["store_unavailable"] * 3
    house.store.away = False
    assert isinstance(await soon(house), Call)


async def test_what_was_granted_and_not_heard_is_given_back() -> None:
    """Only the answer of a store that is asked over a network can be lost."""
    house = await prepared_house(later=True)
    assert isinstance(house.store, AwaitingStore)
    house.store.deaf = True
    admitted = await together(house, 3)
    assert [each.reason for each in admitted if isinstance(each, Refusal)] == ["store_unavailable"] * 3
    house.store.deaf = False
    assert await house.budget() == 100


@both
async def test_who_meets_a_mistake_hears_of_it_and_pays_nothing(later: bool) -> None:
    house = await prepared_house(later=later)

    def breaks(call: Call) -> None:
        raise ValueError(call.op)

    house.gate.dress = breaks
    with pytest.raises(ValueError, match="req_"):
        await soon(house)
    assert await house.budget() == 100
    assert not house.gate.live


async def test_headers_that_are_none_harm_those_who_sent_them() -> None:
    house = await prepared_house(later=False)

    def reads_nothing(headers: Headers) -> Member:
        raise TypeError("These are no headers.")

    house.gate.who = reads_nothing
    with pytest.raises(TypeError, match="no headers"):
        await house.gate.arrivals.admit(MeteredCall(house.route, "/"), ())
