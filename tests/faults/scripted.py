"""A short day of a service, lived again and again, each time until its n-th effect: the crash points.

    scripted.py KIND FOLDER      KIND is embedded, shared, or one of the naive variants; shared has the
                                 addresses of its store and its ledger from the environment

From a parent that has imported everything, processes are forked: one lives the day and dies, the next looks
whether everything that was said is true. What is wrong is printed, one line of JSON per crash point.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from metergate import current
from metergate.admin.office import Office
from metergate.asgi.middleware import Metered
from metergate.asgi.types import Receive, Scope, Send
from metergate.config.settings import Settings
from metergate.engine import Engine
from metergate.ports import AskBudget, Clock, answered
from metergate.testing.asgi import fetch
from tests.faults import naive
from tests.faults.harness.countdown import Countdown

CREDITS, MORE = 20, 3
HEALS_S = 15.0
HOUR_US = 3600 * 10**6
POLICY: dict[str, Any] = {
    "metergate": 1,
    "fsync": "no",  # who is killed loses nothing that was written
    "meters": {"calls": {"count": "calls"}, "rows": {"count": "json", "path": "$.rows"}},
    "prices": {"calls": {"price": "1"}, "rows": {"price": "1"}},
    "routes": [
        {"match": "* /rows/**", "meter": "rows", "hold": {"units": 5}, "on_unknown_outcome": "hold"},
        {"match": "* /fails/**", "meter": "calls", "on_upstream_error": "release"},
        {"match": "* /**", "meter": "calls"},
    ],
}
COSTS = {"calls": (1, 1), "rows": (3, 5), "/fails/": (0, 1)}
"""What a call costs: when its end was seen, and when not. One that fails leaves a row only when not."""


class Day:
    """One day of one account."""

    def __init__(self, folder: Path, number: int) -> None:
        self.account = f"a{number}"
        self._folder = folder
        self._log = os.open(folder / f"log-{number}", os.O_RDWR | os.O_APPEND | os.O_CREAT)
        # Each day is later than the one before, and its judge later still: what was held then is over.
        self._offset_us = number * 2 * HOUR_US

    def note(self, what: str) -> None:
        os.write(self._log, f"{what}\n".encode())

    def noted(self, kind: str) -> list[str]:
        lines = Path(f"/proc/self/fd/{self._log}").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{kind} ")]

    def clock(self) -> int:
        return time.time_ns() // 1000 + self._offset_us

    def later(self) -> int:
        return self.clock() + HOUR_US

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.note(f"served {current.request_id} {scope['path']}")
        await asyncio.sleep(0.001)
        status = 500 if scope["path"].startswith("/fails/") else 200
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"rows": 3}'})

    def door(self, clock: Clock) -> tuple[Metered, Engine]:
        """The app behind its gate, over the one store and ledger of all days."""
        store, ledger = os.environ.get("METERGATE_STORE", ""), os.environ.get("METERGATE_LEDGER", "")
        given = Settings(data=self._folder / "data", store=store, ledger=ledger, worker=bool(store))
        engine = Engine(POLICY, given, clock)
        return Metered(self.app, engine), engine

    # -- what happens --------------------------------------------------------------------------------------

    async def live(self) -> None:
        door, engine = self.door(self.clock)
        await engine.start()
        office, account = engine.office, self.account
        await office.accounts.create(account)
        await office.credits.grant(account, str(CREDITS), id=f"first-{account}")
        self.note(f"granted {CREDITS}")
        key = (await office.keys.create(account))["key"]
        self.note(f"key {key}")
        other = (await office.keys.create(account))["key"]
        await asyncio.gather(*[self._call(door, key, path) for path in ("calls/1", "rows/2", "fails/3")])
        await engine.foundation.worker.run_once()
        await self._call(door, key, "calls/4", **{"idempotency-key": "twice"})
        await self._call(door, key, "calls/4", **{"idempotency-key": "twice"})
        await office.credits.grant(account, str(MORE), id=f"more-{account}")
        self.note(f"granted {MORE}")
        await office.keys.revoke(other[8:18])
        self.note(f"revoked {other}")
        await self._call(door, key, "rows/5")
        await engine.stop()

    async def _call(self, door: Metered, key: str, path: str, **headers: str) -> None:
        kind, number = path.split("/")
        own = f"/{kind}/{self.account}/{number}"
        answer = await fetch(door, "GET", own, headers={"x-api-key": key, **headers})
        self.note(f"answered {own} {answer.status}")

    # -- what has to be true afterwards --------------------------------------------------------------------

    async def complaints(self) -> list[str]:
        door, engine = self.door(self.later)
        await engine.start()
        try:
            deadline = time.monotonic() + HEALS_S
            while (found := await self._found(door, engine)) and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            return found
        finally:
            await engine.stop()

    async def _found(self, door: Metered, engine: Engine) -> list[str]:
        worker = engine.foundation.worker
        await worker.run_once()
        told = engine.foundation.store.health()
        if worker.outage or told.backlog or told.open_holds:
            return [f"It does not come to rest: {worker.outage or told}"]
        return await self._books(engine) or await self._keys(door)

    async def _keys(self, door: Metered) -> list[str]:
        """A key works as soon as its owner has it, and never again once its revocation was answered."""
        found = []
        for key in self.noted("key"):
            answer = await fetch(door, "GET", f"/calls/{self.account}/last", headers={"x-api-key": key})
            if answer.status != 200:
                found.append(f"A key is answered with {answer.status}.")
        for key in self.noted("revoked"):
            answer = await fetch(door, "GET", f"/calls/{self.account}/revoked", headers={"x-api-key": key})
            if answer.status != 401:
                found.append(f"A revoked key is answered with {answer.status}.")
        return found

    async def _books(self, engine: Engine) -> list[str]:
        office = engine.office
        found = [str(each) for each in (await office.do("verify", {}))["differences"]]
        if not await self._is_known(office):
            return [*found, *(["A grant is forgotten."] if self.noted("granted") else [])]
        rows = (await office.do("usage.list", {"account": self.account, "limit": 1000}))["data"]
        spent = sum(row["cost"]["nanos"] for row in rows)
        told = await office.do("credits.show", {"account": self.account})
        granted = sum(grant["amount"]["nanos"] for grant in told["grants"])
        (kept,) = await answered(engine.foundation.store.state((AskBudget(f"credits:{self.account}"),)))
        if not told["balance"]["nanos"] == kept == granted - spent >= 0:
            found.append(
                f"The balance is {told['balance']['nanos']}, in the store {kept}: {granted} - {spent}."
            )
        if granted < sum(map(int, self.noted("granted"))) * 10**9:
            found.append(f"Only {granted} was granted.")
        return [*found, *self._calls(rows)]

    async def _is_known(self, office: Office) -> bool:
        listed = (await office.do("accounts.list", {"limit": 1000}))["data"]
        return self.account in {each["id"] for each in listed}

    def _calls(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        served = dict(line.split() for line in self.noted("served"))
        billed = Counter(row["request_id"] for row in rows)
        found = [f"{served.get(id)} is billed {n} times." for id, n in billed.items() if n > 1]
        due = {id for id, path in served.items() if not path.startswith("/fails/")}
        found += [f"{served[id]} is served and not billed." for id in due - billed.keys()]
        for row in rows:
            kind = row["path"].partition("/fails/")[1] or row["meter"]
            known = row["measured"] == "measured"
            if row["cost"]["nanos"] != COSTS[kind][not known] * 10**9:
                found.append(f"{row['path']} costs {row['cost']['amount']}, {row['measured']}.")
            if known and row["request_id"] not in served:
                found.append(f"{row['path']} is billed as measured, and was not served.")
        return found


def main(kind: str, folder: Path) -> None:
    """The last effect first: what the end of a day shows is the dearest to lose."""
    naive.VARIANTS.get(kind, lambda: None)()
    # Here, so that tables, folders and the first epoch are there, and whatever is made once a process.
    asyncio.run(Day(folder, 0).live())
    gc.freeze()
    total = int(_forked(lambda tell: _counted(tell, Day(folder, 1))))
    for number, n in enumerate(range(total, 0, -1), 2):
        died_at = _forked(lambda tell, n=n, day=number: _until(tell, n, Day(folder, day)))  # type: ignore[misc]
        wrong = _forked(lambda tell, day=number: _judged(tell, Day(folder, day)))  # type: ignore[misc]
        told = {"n": n, "died_at": died_at, "complaints": json.loads(wrong or '["The judge died."]')}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


async def _counted(tell: int, day: Day) -> None:
    countdown = Countdown(tell)
    countdown.listen()
    await day.live()
    os.write(tell, str(countdown.met).encode())


async def _until(tell: int, n: int, day: Day) -> None:
    countdown = Countdown(tell)
    countdown.listen()
    countdown.dies_at = n
    await day.live()


async def _judged(tell: int, day: Day) -> None:
    os.write(tell, json.dumps(await day.complaints()).encode())


def _forked(work: Callable[[int], Coroutine[Any, Any, None]]) -> str:
    """Do it in a process of its own; what it tells."""
    hear, tell = os.pipe()
    if pid := os.fork():
        os.close(tell)
        with os.fdopen(hear, "rb") as told:
            text = told.read().decode()
        os.waitpid(pid, 0)
        return text
    try:
        asyncio.run(work(tell))
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  # nothing of the child may go on in the parent's code
        sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
