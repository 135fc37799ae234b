"""Stores under test, opened on an empty server and closed after the test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from metergate_redis import RedisStore
from metergate_redis.address import parse

MakeStores = Callable[[int], Awaitable[RedisStore]]


@asynccontextmanager
async def stores(url: str) -> AsyncIterator[MakeStores]:
    """Makes stores on one server; the first of them opens the first epoch."""
    made: list[RedisStore] = []

    async def make(backlog: int = 1000) -> RedisStore:
        store = RedisStore(parse(url), backlog=backlog)
        made.append(store)
        await store.connect()
        standing = await store.standing()
        epoch = standing.epoch or "first"
        if not standing.epoch:
            await store.begin(epoch)
            await store.reopen(epoch)
        store.enter(epoch)
        return store

    try:
        yield make
    finally:
        for store in made:
            await store.close()
