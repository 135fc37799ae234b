"""Several workers drain one outbox: each entry goes to one of them, and those of the dead to another."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from metergate.ports import DONE, UNKNOWN, Entry
from metergate.wire import decode_events
from metergate_redis import RedisStore
from tests.adapters.redis.stores import MakeStores, a_hold, held, know, settled, stores
from tests.waiting import DEADLINE_S


@pytest.fixture(params=["?shards=1", "?shards=3"], ids=["one shard", "three shards"])
async def make(valkey_url: str, request: pytest.FixtureRequest) -> AsyncIterator[MakeStores]:
    async with stores(valkey_url + request.param) as make:
        yield make


async def usage(store: RedisStore, *ops: str) -> None:
    """One entry for each call; the accounts are in different shards."""
    for n, op in enumerate(ops):
        account = f"acct-{n % 7}"
        await know(store, account, 1000)
        await held(store, await a_hold(store, op, account=account))
        assert await settled(store, op) == [DONE]


def ops_of(entries: Sequence[Entry]) -> list[str]:
    return sorted(event.op for entry in entries for event in decode_events(entry.events))


async def drained_at_last(store: RedisStore, count: int) -> Sequence[Entry]:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            entries = await store.drain(count)
            if len(entries) == count:
                return entries
            await asyncio.sleep(0.005)


async def test_no_entry_goes_to_two_workers_at_once(make: MakeStores) -> None:
    workers = [await make() for _ in range(3)]
    ops = [f"op-{n:02}" for n in range(30)]
    await usage(workers[0], *ops)
    drained = await asyncio.gather(*[worker.drain(12) for worker in workers])
    assert all(drained)
    assert ops_of([entry for each in drained for entry in each]) == ops


async def test_who_marks_the_end_of_the_outbox_hears_when_it_is_empty_up_to_there(make: MakeStores) -> None:
    """Whoever acknowledges; what comes behind the mark does not count."""
    store, other = await make(), await make()
    assert await store.mark() == ""
    await usage(store, *"abcdefgh")
    mark = await store.mark()
    first = await other.drain(100)
    await usage(store, *"ijklmnop")
    assert not await store.posted(mark)
    for entry in first:
        assert not await store.posted(mark)
        await other.acknowledge([entry.id])
    assert await store.posted(mark)
    assert not await store.posted(await store.mark())


async def test_what_a_dead_worker_had_drained_goes_to_another_after_a_while(make: MakeStores) -> None:
    dead, heir = await make(), await make(more="takeover=50ms")
    await usage(dead, "a", "b", "c")
    assert ops_of(await dead.drain(2)) != []
    assert ops_of(await drained_at_last(heir, 3)) == ["a", "b", "c"]


async def test_what_a_living_worker_has_drained_stays_with_it(make: MakeStores) -> None:
    """It shows that it lives by asking again, as it does while the ledger is away."""
    patient, other = await make(), await make(more="takeover=1s")
    await usage(patient, "a", "b")
    for _ in range(40):
        assert ops_of(await patient.drain(10)) == ["a", "b"]
        assert await other.drain(10) == []
        await asyncio.sleep(0.03)


async def test_what_was_taken_over_may_be_acknowledged_by_both(make: MakeStores) -> None:
    """The slow one had posted it after all; the ledger knows its ids, and the backlog counts it once."""
    slow, heir = await make(), await make(more="takeover=1ms")
    await usage(slow, "a", "b")
    entries = await slow.drain(10)
    assert ops_of(await drained_at_last(heir, 2)) == ["a", "b"]
    ids = [entry.id for entry in entries]
    assert list(await slow.acknowledge(ids)) == [DONE, DONE]
    assert list(await heir.acknowledge(ids)) == [UNKNOWN, UNKNOWN]
    await usage(heir, "c")
    assert heir.health().backlog == 1


async def test_an_entry_is_counted_whoever_acknowledges_it(make: MakeStores) -> None:
    """Also by a process that has not drained it itself and does not know how many events it holds."""
    first, second = await make(), await make()
    await know(first, "acct", 100)
    ops = [f"op-{n}" for n in range(10)]
    await held(first, *[await a_hold(first, op) for op in ops])
    await settled(first, *ops)
    entries = await first.drain(10)
    assert first.health().backlog == 10
    await second.acknowledge([entry.id for entry in entries])
    assert second.health().backlog == 0


async def test_many_entries_are_drained_to_the_last(make: MakeStores) -> None:
    workers = [await make() for _ in range(2)]
    await usage(workers[0], *[f"op-{n}" for n in range(150)])
    seen: list[str] = []
    for worker in (workers[0], workers[1]) * 20:
        entries = await worker.drain(7)
        seen += ops_of(entries)
        assert set(await worker.acknowledge([entry.id for entry in entries])) <= {DONE}
    assert sorted(seen) == sorted(f"op-{n}" for n in range(150))
    assert (await workers[0].standing()).open
    assert workers[0].health().backlog == 0
