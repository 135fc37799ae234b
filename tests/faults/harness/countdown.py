"""Dying at the n-th effect: the last moment before a process says something to the outside.

What others can see of a process changes only with what it writes: a record of its journal, a script call for
the store, a statement for the database. Who dies right before each of them dies once in every state that can
be seen: before the first, and after each.
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

READS = re.compile(r"\s*(SELECT|PRAGMA|SHOW|SET|BEGIN)\b")
SCRIPT = b"EVALSHA"


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
        def execute(_: Any, __: Any, statement: str, *___: Any) -> None:
            if not READS.match(statement):
                self.met_one("ledger", statement)

        @sa.event.listens_for(sa.Engine, "commit")
        def commit(_: Any) -> None:
            self.met_one("ledger", "COMMIT")

    def _sends(self, request: bytes) -> None:
        if SCRIPT in request[:30]:
            self.met_one("store", SCRIPT.decode())


def _before(owner: type, name: str, first: Callable[..., None]) -> None:
    inner = getattr(owner, name)

    def counted(*arguments: Any, **more: Any) -> Any:
        first(*arguments, **more)
        return inner(*arguments, **more)

    setattr(owner, name, counted)
