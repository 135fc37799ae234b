"""Dying at the n-th effect: the last moment before a process says something to the outside.

What others can see of a process changes only with what it writes: a record of its journal, a script call for
the store, a statement for the database. Who dies right before each of them dies once in every state that can
be seen: before the first, and after each. What only reads is none of them: a worker that has nothing to do
reads all day, and the more of it the slower the machine is.
"""

import os
import re
import signal
from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy as sa

from metergate.store.journal import Journal
from metergate_redis.connection import Connection
from metergate_redis.scripts import SCRIPTS

READS = re.compile(r"\s*(SELECT|PRAGMA|SHOW|SET|BEGIN)\b")
WRITTEN = "written"
"""What a connection knows of itself until it commits."""
SCRIPT = b"EVALSHA"
READING = [SCRIPTS[name].sha for name in ("state", "newest", "oldest")]


class Countdown:
    """Lives until its n-th effect; 0 lives on, and only counts."""

    def __init__(self, tell: int) -> None:
        self.met = 0
        self.dies_at = 0
        self._tell = tell

    def met_one(self, kind: str, what: str) -> None:
        self.met += 1
        if self.met == self.dies_at:
            os.write(self._tell, f"{kind}: {' '.join(what.split())[:70]}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def listen(self) -> None:
        """Notice every effect of this process from now on."""
        _before(Journal, "append", lambda _, kind, payload: self.met_one("journal", f"record of kind {kind}"))
        _before(Connection, "send_packed", lambda _, request, receiver: self._sends(request))
        _before(psycopg.Cursor, "copy", lambda _, statement, *more: self.met_one("ledger", str(statement)))

        @sa.event.listens_for(sa.Engine, "before_cursor_execute")
        def execute(connection: sa.Connection, _: Any, statement: str, *__: Any) -> None:
            if not READS.match(statement):
                connection.info[WRITTEN] = True
                self.met_one("ledger", statement)

        @sa.event.listens_for(sa.Engine, "commit")
        def commit(connection: sa.Connection) -> None:
            if connection.info.pop(WRITTEN, False):
                self.met_one("ledger", "COMMIT")

    def _sends(self, request: bytes) -> None:
        head = request[:90]
        if SCRIPT in head and not any(sha in head for sha in READING):
            self.met_one("store", SCRIPT.decode())


def _before(owner: type, name: str, first: Callable[..., None]) -> None:
    inner = getattr(owner, name)

    def counted(*arguments: Any, **more: Any) -> Any:
        first(*arguments, **more)
        return inner(*arguments, **more)

    setattr(owner, name, counted)
