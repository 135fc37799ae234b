"""A gate in this process over a store and a ledger that processes share, with a wire before each of them."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from metergate.ledger import Ledger
from tests.faults.harness.lines import Lines
from tests.faults.harness.wire import wire
from tests.valkey import Server


@pytest.fixture
async def lines(valkey_server: Server, valkey_url: str, postgres_url: str) -> AsyncIterator[Lines]:
    """Where both can be reached, over wires that can be told to fail."""
    ledger = Ledger.open(postgres_url)
    ledger.migrate()
    ledger.close()
    address = sa.make_url(postgres_url)
    sockets = Path(str(address.query["host"]))
    # A socket's path may be a hundred characters long, which pytest's folders are already.
    with tempfile.TemporaryDirectory(prefix="metergate-lines-") as name:
        folder = Path(name)
        async with (
            wire(folder / "store", valkey_server.socket) as store,
            wire(folder / ".s.PGSQL.5432", sockets / ".s.PGSQL.5432") as books,
        ):
            over_wire = address.set(query={"host": str(folder)}).render_as_string(hide_password=False)
            yield Lines(folder, store, books, over_wire, postgres_url, valkey_server)
