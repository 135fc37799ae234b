"""How calls share a call of the script: as many as come while others are on their way, and never too many."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from metergate.core.budget import QUOTA, UNITS, Draw
from metergate.errors import StoreUnavailable
from metergate.ports import DONE, GRANTED, AskBudget, Held, Hold
from metergate_redis import RedisStore
from metergate_redis.turn import OPS_AT_ONCE
from tests.adapters.redis.stores import a_hold, again, balance, held, know, now_us, settled, stores
from tests.valkey import Server

CALLS = 12
DEADLINE_S = 1.0
MANY = 1500
QUOTAS = 14


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisStore]:
    async with stores(server.url) as make:
        store = await make()
        await know(store, balance=MANY)
        yield store


async def one_by_one(store: RedisStore, holds: Sequence[Hold]) -> list[asyncio.Future[Sequence[Held]]]:
    """Calls that come each in a turn of the loop of its own."""
    asked: list[asyncio.Future[Sequence[Held]]] = []
    for hold in holds:
        asked.append(asyncio.ensure_future(held(store, hold)))
        for _ in range(5):
            await asyncio.sleep(0)
    return asked


async def test_calls_that_come_while_others_are_on_their_way_go_together(
    store: RedisStore, server: Server
) -> None:
    assert server.process is not None
    holds = [await a_hold(store, f"op-{n}") for n in range(CALLS)]
    os.kill(server.process.pid, signal.SIGSTOP)
    asked = await one_by_one(store, holds)
    (before,) = store.sequence
    os.kill(server.process.pid, signal.SIGCONT)
    for answer in await asyncio.gather(*asked):
        assert [each.status for each in answer] == [GRANTED]
    (after,) = store.sequence
    assert after - before < CALLS / 2
    assert await balance(store) == MANY - CALLS


async def test_who_waits_behind_a_frozen_server_is_told_within_the_deadline(
    store: RedisStore, server: Server
) -> None:
    assert server.process is not None
    holds = [await a_hold(store, f"op-{n}") for n in range(CALLS)]
    os.kill(server.process.pid, signal.SIGSTOP)
    asked = await one_by_one(store, holds)
    began = time.monotonic()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert time.monotonic() - began < 2 * DEADLINE_S
    assert {type(each) for each in answers} == {StoreUnavailable}
    os.kill(server.process.pid, signal.SIGCONT)
    assert await again(lambda: store.release([f"op-{n}" for n in range(CALLS)], now_us()))
    assert await balance(store) == MANY


async def test_a_batch_of_any_length_is_taken_in_parts(store: RedisStore) -> None:
    first = await a_hold(store, "0")
    holds = [first._replace(op=str(n), request_id=str(n)) for n in range(MANY)]
    (before,) = store.sequence
    assert [each.status for each in await held(store, *holds)] == [GRANTED] * MANY
    assert list(await settled(store, *[str(n) for n in range(0, MANY, 2)])) == [DONE] * (MANY // 2)
    assert list(await store.release([str(n) for n in range(1, MANY, 2)], now_us())) == [DONE] * (MANY // 2)
    assert await balance(store) == MANY // 2
    assert store.sequence > (before + 5,)
    assert not await held(store)
    assert not await settled(store)


async def test_calls_of_one_turn_may_draw_from_thousands_of_budgets(store: RedisStore) -> None:
    first = await a_hold(store, "0")
    holds = [
        first._replace(op=f"op-{n}", request_id=f"op-{n}", draws=tuple(many_quotas(n)))
        for n in range(OPS_AT_ONCE)
    ]
    answers = await held(store, *holds)
    assert [each.values for each in answers] == [tuple(range(1, QUOTAS + 1))] * OPS_AT_ONCE
    assert await store.state([AskBudget(f"q{n}:acct-{OPS_AT_ONCE - 1}") for n in (1, QUOTAS)]) == [1, QUOTAS]


def many_quotas(number: int) -> Iterator[Draw]:
    until_us = now_us() + 3600 * 10**6
    for n in range(1, QUOTAS + 1):
        yield Draw(QUOTA, f"q{n}:acct-{number}", n, 0, 10**6, until_us, UNITS)
