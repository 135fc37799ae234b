"""The embedded store keeps the whole contract of a counter store."""

from pathlib import Path

import pytest

from metergate.store.embedded import EmbeddedStore
from metergate.store.journal import Journal
from metergate.testing.conformance import CounterStoreContract, MakeStore
from metergate.testing.stores import AwaitingStore


class TestInMemory(CounterStoreContract):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return lambda backlog: EmbeddedStore(None, backlog=backlog)


class TestWithJournal(CounterStoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return lambda backlog: EmbeddedStore(Journal(tmp_path, segment_bytes=1 << 18), backlog=backlog)


class TestAnsweringLater(CounterStoreContract):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return lambda backlog: AwaitingStore(EmbeddedStore(None, backlog=backlog))
