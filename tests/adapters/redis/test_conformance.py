"""The store on Redis keeps the whole contract of a counter store, on every server that it is made for."""

from collections.abc import AsyncIterator, Iterator

import pytest

from metergate.testing.conformance import CounterStoreContract, MakeStore
from tests.adapters.redis.stores import stores
from tests.valkey import Server, emptied, redis_binary, running


class TestOnValkey(CounterStoreContract):
    @pytest.fixture
    async def make_store(self, valkey_url: str) -> AsyncIterator[MakeStore]:
        async with stores(valkey_url) as make:
            yield make


class TestOnRedis(CounterStoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def redis_server(cls) -> Iterator[Server]:
        with running(redis_binary()) as server:
            yield server

    @pytest.fixture
    async def make_store(self, redis_server: Server) -> AsyncIterator[MakeStore]:
        emptied(redis_server)
        async with stores(redis_server.url) as make:
            yield make
