"""A PostgreSQL that takes what it is told and says nothing more: frozen, or behind a network that swallows.

Nothing on a connection tells a silence from a long answer, so somebody else is asked whether the server still
lets anybody in. If it does not, what waits for an answer is cut off, and fails as when the database is away.
"""

import contextlib
import os
import socket
from typing import Any, Final
from weakref import WeakSet

import sqlalchemy as sa

CONNECT_S: Final = 10
KEEPALIVE: Final = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A machine that is gone is noticed within about a minute, also where nobody says that it is."""


class Lines:
    """The connections to a database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._open: WeakSet[Any] = WeakSet()
        sa.event.listen(engine, "connect", lambda connection, _: self._open.add(connection))

    def lets_anybody_in(self, within_s: float) -> bool:
        """Whether the server answers somebody new within so many seconds, be it with a refusal."""
        dialect = self._engine.dialect
        words, named = dialect.create_connect_args(self._engine.url)
        try:
            dialect.connect(*words, **{**named, "connect_timeout": within_s}).close()
        except dialect.dbapi.errors.ConnectionTimeout:  # type: ignore[union-attr]  # psycopg has it
            return False
        except dialect.dbapi.Error:  # type: ignore[union-attr]  # it said no
            return True
        return True

    def cut(self) -> None:
        """End the connections on which somebody waits for an answer."""
        for connection in list(self._open):
            if not connection.closed and connection.info.transaction_status.name == "ACTIVE":
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)
