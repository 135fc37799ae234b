"""The store on Redis keeps the whole contract of a counter store, on every server that it is made for."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from metergate.testing.conformance import CounterStoreContract, MakeStore
from tests.adapters.redis.fake import fake_server
from tests.adapters.redis.stores import stores
from tests.valkey import Server, cluster, emptied, redis_binary, running, valkey_binary


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


class TestOnShards(CounterStoreContract):
    """Several shards on one server behave as one store."""

    @pytest.fixture
    async def make_store(self, valkey_url: str) -> AsyncIterator[MakeStore]:
        async with stores(f"{valkey_url}?shards=5") as make:
            yield make


class TestOnCluster(CounterStoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def masters(cls) -> Iterator[list[Server]]:
        with cluster(valkey_binary()) as servers:
            yield servers

    @pytest.fixture
    async def make_store(self, masters: list[Server]) -> AsyncIterator[MakeStore]:
        for server in masters:
            emptied(server)
        async with stores(f"redis+cluster://127.0.0.1:{masters[0].port}?shards=8") as make:
            yield make


class TestOnFakeredis(CounterStoreContract):
    """Who has no server at hand can test on the fake."""

    @pytest.fixture
    async def make_store(self, tmp_path: Path) -> AsyncIterator[MakeStore]:
        async with fake_server(tmp_path) as url, stores(url) as make:
            yield make
