"""A store that loses what it was told, in the middle of traffic, while nobody posts: the journals know it.

Every call that was served is billed, also those of a gate that was killed at the same moment; no credit is
spent twice, and who looks afterwards finds the same figures everywhere.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.faults.harness.valkey import Valkey, replica, take_the_place
from tests.faults.harness.world import World, shared

TAIL = 20_000
"""Bytes: a hundred calls, and more."""
CALLS = 150

Loss = Callable[[Valkey], Iterator[None]]


def flushed(valkey: Valkey) -> Iterator[None]:
    yield
    assert valkey.say("FLUSHALL") == b"+OK\r\n"


def without_its_tail(valkey: Valkey) -> Iterator[None]:
    yield
    assert valkey.lose_the_tail(TAIL) == TAIL


def followed_by_a_stale_replica(valkey: Valkey) -> Iterator[None]:
    with replica(valkey) as behind:
        behind.say("REPLICAOF", "NO", "ONE")
        yield
        take_the_place(behind, valkey)


async def served(world: World, count: int) -> None:
    wanted = world.callers.statuses[200] + count
    await world.until(lambda: _reached(world, wanted), "calls are not served")


async def _reached(world: World, wanted: int) -> bool:
    return world.callers.statuses[200] >= wanted


@pytest.mark.parametrize("loss", [flushed, without_its_tail, followed_by_a_stale_replica])
async def test_what_the_store_has_lost_is_billed_from_the_journals(loss: Loss) -> None:
    async with shared({"rich": 1_000_000, "poor": CALLS // 2}, proxies=0, workers=1) as world:
        assert world.valkey is not None
        async with world.callers.calling(2):
            await served(world, CALLS)
            world.workers[0].freeze()
            with contextmanager(loss)(world.valkey):
                await served(world, CALLS)
                world.gates_killed += 1
                await asyncio.to_thread(world.gates[0].kill)
            await asyncio.sleep(0.5)
            world.workers[0].thaw()
            world.keep_running()
            await served(world, CALLS // 5)
        await world.heals()
        complaints = await world.complaints()
        assert not complaints, "\n".join(complaints[:20])
