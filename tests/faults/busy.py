"""A metered app under load, in a process of its own that somebody kills.

    busy.py FOLDER LOG SEED OUTCOME

Every call that reaches the app leaves its request id in LOG before anything else happens: the log is the
oracle outside of the system. Calls end after a few turns of the loop, some never; the client notes those
that it has seen end beside it.
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

from metergate import MeterGate, current
from metergate.asgi.types import Receive, Scope, Send
from metergate.config.settings import Settings
from metergate.testing.asgi import fetch

TASKS = 16
PRICE = 10_000_000


def policy(outcome: str) -> dict[str, Any]:
    return {
        "metergate": 1,
        "meters": {"calls": {"count": "calls"}, "bytes": {"count": "bytes"}},
        "prices": {"calls": {"price": "0.01"}, "bytes": {"price": "0.01"}},
        "routes": [
            {"match": "GET /call", "meter": "calls", "on_unknown_outcome": outcome},
            {"match": "GET /bytes", "meter": "bytes", "hold": {"units": 7}, "on_unknown_outcome": outcome},
        ],
    }


class App:
    """Logs, waits, answers with one byte; every now and then it never answers."""

    def __init__(self, log: Path, seed: int) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._random = random.Random(seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        os.write(self._log, f"{current.request_id} {scope['path']}\n".encode())
        if self._random.random() < 0.01:
            await asyncio.Event().wait()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})


async def main(folder: Path, log: Path, seed: int, outcome: str) -> None:
    door = MeterGate(App(log, seed), policy(outcome), settings=Settings(data=folder))
    await door.engine.start()
    office = door.engine.office
    await office.accounts.create("acct")
    await office.credits.grant("acct", "10000.00", id="first")
    key = (await office.keys.create("acct"))["key"]
    answered = os.open(log.with_suffix(".answered"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def call(number: int) -> None:
        path = "/call" if number % 3 else "/bytes"
        while True:
            answer = await fetch(door, "GET", path, headers={"x-api-key": key})
            await asyncio.sleep(0)  # the ends of a turn of the loop are written when it is over
            os.write(answered, f"{answer.header('metergate-request-id')}\n".encode())

    async def keep(number: int) -> None:
        while True:
            task = asyncio.create_task(call(number))
            await asyncio.wait([task], timeout=0.05)  # a call that hangs is left hanging

    await asyncio.gather(*(keep(number) for number in range(TASKS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
