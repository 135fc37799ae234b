"""A gate in the test's own process, and wires between it, its store and its ledger."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from metergate.asgi.middleware import Metered
from metergate.config.settings import Settings
from metergate.engine import Engine
from metergate.foundation import now_us
from metergate.ports import Clock
from metergate.testing.asgi import Receive, Scope, Send
from tests.faults.harness.wire import Wire
from tests.shell import CENT, PLAIN, Shell, hello
from tests.valkey import Server
from tests.waiting import needs_no_more_than, until

TIMEOUT_S = 0.4
"""How long the store may take here."""
SLACK_S = 3.0
"""What a busy machine may take beside it."""
FAST_S = 0.3
"""What a route takes at most that needs no store."""
HEALS_S = 60.0
CREDITS = 100
HOUR_US = 3600 * 10**6


class Lines(NamedTuple):
    folder: Path
    store: Wire
    ledger: Wire
    ledger_url: str
    direct_url: str
    """The ledger's address beside the wire."""
    valkey: Server

    @asynccontextmanager
    async def metered(
        self, policy: Mapping[str, Any] = PLAIN, *, clock: Clock = now_us
    ) -> AsyncIterator["Service"]:
        """The smallest app over both, a customer with credits, and a cent per call; proven at the end."""
        store = f"redis+unix://{self.store.here}?timeout=400ms&takeover=200ms"
        settings = Settings(data=self.folder / "data", store=store, ledger=self.ledger_url)
        served, engine = Served(), Engine(policy, settings, clock)
        await engine.start()
        try:
            shell = Shell(Metered(served.app, engine), engine)
            shell.key = await shell.customer(credits=str(CREDITS))
            yield Service(shell, served, self)
            assert (await engine.office.do("verify", {}))["differences"] == []
        finally:
            await engine.stop()

    def sql(self, statement: str) -> list[Any]:
        """One statement, beside the wire."""
        url, mine = self.direct_url.replace("+psycopg", ""), "-c default_transaction_read_only=off"
        with psycopg.connect(url, autocommit=True, options=mine) as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def end_sessions(self) -> None:
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


class Wall:
    """The wall clock, which jumps when it is told to."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us

    def jump(self, hours: float) -> None:
        self.ahead_us += round(hours * HOUR_US)


class Served:
    def __init__(self) -> None:
        self.count = 0
        self.gate: Callable[[], Awaitable[None]] | None = None
        """Waited for in every call, where there is one."""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/x"):
            self.count += 1
            if self.gate is not None:
                await self.gate()
        await hello(scope, receive, send)


class Service:
    """What a customer sees, and whether it is what is billed."""

    def __init__(self, shell: Shell, served: Served, lines: Lines) -> None:
        self.shell = shell
        self.served = served
        self._lines = lines

    async def call(self, path: str = "/x") -> int:
        return (await self.shell.fetch("GET", path)).status

    async def takes(self, path: str = "/x") -> tuple[int, float]:
        started = time.monotonic()
        return await self.call(path), time.monotonic() - started

    async def refuses_in_time(self) -> None:
        """A metered call is answered with 503 within the time, and what needs no store at once."""
        status, took = await self.takes()
        assert status == 503 and took < TIMEOUT_S + SLACK_S
        await self.serves_unmetered()

    async def serves_unmetered(self) -> None:
        for path in ("/public", "/free/x"):
            await needs_no_more_than(FAST_S, partial(self.call, path))

    async def heals(self, seconds: float = HEALS_S) -> None:
        """Calls are served again, by itself; everybody agrees on how many there were."""
        await until(self._serves, "calls are not served again", seconds)
        await until(self._agreed, "the books are not in order", seconds)

    async def _serves(self) -> bool:
        return await self.call() == 200

    async def _agreed(self) -> bool:
        office = self.shell.engine.office
        rows = self._lines.sql("SELECT count(*), count(DISTINCT request_id), sum(cost) FROM usage")[0]
        told = await office.do("credits.show", {"account": "acct"})
        return bool(
            rows == (self.served.count, self.served.count, self.served.count * CENT)
            and told["balance"]["nanos"] == CREDITS * 10**9 - self.served.count * CENT
            and told["held"]["nanos"] == 0
        )
