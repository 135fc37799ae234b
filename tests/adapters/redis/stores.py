"""Stores under test, opened on an empty server and closed after the test."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from metergate.core.budget import Draw
from metergate.core.facts import AccountFacts, Caller
from metergate.errors import MetergateError
from metergate.ports import (
    DONE,
    AskAccount,
    AskBudget,
    CounterStore,
    Held,
    Hold,
    PutAccount,
    Settle,
    answered,
)
from metergate.testing.conformance.bench import TERMS, an_event, money
from metergate_redis import RedisStore
from metergate_redis.address import parse
from tests.waiting import DEADLINE_S

MakeStores = Callable[..., Awaitable[RedisStore]]


@asynccontextmanager
async def stores(url: str) -> AsyncIterator[MakeStores]:
    """Makes stores on one server; the first of them opens the first epoch."""
    made: list[RedisStore] = []

    async def make(backlog: int = 1000, more: str = "") -> RedisStore:
        separator = "&" if "?" in url else "?"
        store = RedisStore(parse(f"{url}{separator}{more}" if more else url), backlog=backlog)
        made.append(store)
        await store.connect()
        standing = await store.standing()
        if not standing.epoch:
            await store.begin("first")
            await store.reopen("first")
        store.enter(standing.epoch or "first")
        return store

    try:
        yield make
    finally:
        for store in made:
            await store.close()


def settled(store: RedisStore, *ops: str) -> Awaitable[Sequence[str]]:
    return store.settle([Settle(op, None, an_event(op)) for op in ops], now_us())


def now_us() -> int:
    return time.time_ns() // 1000


async def know(store: CounterStore, account: str = "acct", balance: int = 0) -> None:
    told = await answered(store.sync((PutAccount(AccountFacts(account), balance),), now_us()))
    assert list(told) == [DONE]


async def a_hold(store: CounterStore, op: str, *draws: Draw, account: str = "acct") -> Hold:
    """A hold that goes on at once, for an hour; of one nano where nothing else is said."""
    (told,) = await answered(store.state((AskAccount(account),)))
    assert isinstance(told, Caller)
    until = now_us() + 3600 * 10**6
    amounts = draws or (money(1, account),)
    return Hold(op, account, told.generation, amounts, until, TERMS, op, None, dispatched=True)


async def held(store: RedisStore, *holds: Hold) -> Sequence[Held]:
    return await store.hold(holds, now_us())


async def balance(store: CounterStore, account: str = "acct") -> object:
    (told,) = await answered(store.state((AskBudget(f"credits:{account}"),)))
    return told


async def again(act: Callable[[], Awaitable[object]], seconds: float = DEADLINE_S) -> object:
    """Try until it works."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await act()
            except MetergateError:
                await asyncio.sleep(0.02)
