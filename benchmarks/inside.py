"""What metering costs without sockets: the ASGI interface driven directly, and the flush by itself."""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.apps import POLICY, hello
from benchmarks.place import Place
from metergate.asgi.types import ASGIApp, Message
from metergate.bootstrap import MeterGate
from metergate.config.settings import Settings

TURN = 64
"""Calls in one turn of the event loop."""
CALLS = 300 * TURN
ROWS = "INSERT INTO plain (seq, id, path, units, cost) VALUES (NULL, ?, ?, ?, ?)"


class Inside(NamedTuple):
    bare_us: float
    added_us: float
    flush_us: float
    """Per event, from the outbox into the ledger, CPU of all threads."""
    insert_us: float
    """A bare bulk insert of five columns with a primary key and a unique id, per row."""


def measure(tries: int) -> Inside:
    with tempfile.TemporaryDirectory(prefix="metergate-bench-") as scratch:
        place = Place(Path(scratch) / "inside")
        found = asyncio.run(_measure(place, tries))
        place.prove(*[CALLS * tries] * 2)
        return found._replace(insert_us=_bare_insert(Path(scratch) / "plain.sqlite"))


async def _measure(place: Place, tries: int) -> Inside:
    gate = MeterGate(hello, POLICY, settings=Settings(data=place.folder, worker=False))
    await gate.engine.start()
    flusher = gate.engine.foundation.worker.flusher
    bare: list[float] = []
    metered: list[float] = []
    flushed: list[float] = []
    for _ in range(tries):
        bare.append(await _drive(hello, place.key))
        metered.append(await _drive(gate, place.key))
        flushed.append(await _timed(flusher.run_dry))
    await gate.engine.stop()
    return Inside(min(bare), min(metered) - min(bare), min(flushed), 0.0)


async def _drive(app: ASGIApp, key: str) -> float:
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/hello", "raw_path": b"/hello", "headers": headers}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message.get("status", 200) != 200:
            raise AssertionError(f"A call was answered with {message['status']}.")

    async def calls() -> None:
        for _ in range(CALLS // TURN):
            await asyncio.gather(*[app(scope, receive, send) for _ in range(TURN)])

    return await _timed(calls)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    """CPU of the process in us per call."""
    began = time.process_time_ns()
    await work()
    return (time.process_time_ns() - began) / CALLS / 1000


def _bare_insert(path: Path) -> float:
    rows = [(f"req_{number:024x}", "/hello", 1, 2000) for number in range(CALLS)]
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA journal_mode=WAL")
        plain.execute("CREATE TABLE plain (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, path, units, cost)")
        began = time.process_time_ns()
        plain.executemany(ROWS, rows)
        plain.commit()
        return (time.process_time_ns() - began) / CALLS / 1000
