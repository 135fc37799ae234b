"""Everything that a paid call goes through, as real processes, and the proof that nothing went wrong with it.

Three who do not know each other are asked: the customers remember every answer, the apps (and the upstream
behind the proxy) have noted every call that they served, and the ledger has what was billed.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from metergate.bootstrap import open_office
from tests.faults.harness.callers import Callers
from tests.faults.harness.postgres import Postgres, postgres
from tests.faults.harness.processes import Child, Gate, app_gate, proxy_gate, worker
from tests.faults.harness.valkey import Valkey, valkey
from tests.faults.harness.wire import Wire, wire
from tests.shared.house import Desk, Place

HEALS_S = 90.0
"""When the faults are over, everything serves again and is in order within this time."""
PRICE, ROWS, HELD = 1, 3, 5
POLICY: dict[str, Any] = {
    "metergate": 1,
    "meters": {"calls": {"count": "calls"}, "rows": {"count": "json", "path": "$.rows"}},
    "prices": {"calls": {"price": str(PRICE)}, "rows": {"price": "1"}},
    "routes": [
        {"match": "* /public/**", "public": True},
        {"match": "* /free/**", "free": True},
        {
            "match": "* /rows/**",
            "meter": "rows",
            "hold": {"units": HELD},
            "hold_for": "2s",
            "on_unknown_outcome": "hold",
        },
        {"match": "* /**", "meter": "calls", "hold_for": "2s"},
    ],
}
CREDITS: Mapping[str, int] = {"rich": 1_000_000, "poor": 60}


class World:
    """Gates and workers over a store and a ledger."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.gates: list[Gate] = []
        self.workers: list[Child] = []
        self.valkey: Valkey | None = None
        self.wire: Wire | None = None
        """Between all processes and the store, where there is one."""
        self.postgres: Postgres | None = None
        self.keys: dict[str, str] = {}
        self.gates_killed = 0

    async def begin(self, credits: Mapping[str, int]) -> None:
        """Everybody serves, and customers have credits."""
        for child in (*self.gates, *self.workers):
            child.start()
        async with httpx2.AsyncClient() as client:
            for gate in self.gates:
                await self.until(partial(gate.answers, client), "a gate does not start")
        async with self.desk() as office:
            for account, amount in credits.items():
                self.keys[account] = await office.customer(account, str(amount))
        self.credits = credits
        self.callers = Callers(self.gates, self.keys)

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        async with open_office(POLICY, self.place.settings(worker=False)) as office:
            yield Desk(office.do)

    # -- the end -------------------------------------------------------------------------------------------

    async def heals(self) -> None:
        """Everything that was frozen or killed runs again, serves, and has nothing left to do."""
        for child in (*self.gates, *self.workers):
            child.thaw()
        if self.wire is not None:
            self.wire.calm()
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.start)

        async def all_serve() -> bool:
            self.keep_running()
            return await self.callers.all_are_served("rich")

        await self.until(all_serve, "not every gate serves again")
        async with self.desk() as office:

            async def drained() -> bool:
                told = (await office.ask("health"))["store"]
                return bool(told["state"] == "ok" and told["backlog"] == told["open_holds"] == 0)

            await self.until(drained, "something waits in the store for ever")

    def keep_running(self) -> None:
        """Who could not start, because a server was away, is started again, as a service manager does."""
        for child in (*self.gates, *self.workers):
            if not child.runs:
                child.start()

    async def until(self, condition: Callable[[], Awaitable[bool]], problem: str) -> None:
        deadline = time.monotonic() + HEALS_S
        while not await condition():
            assert time.monotonic() < deadline, f"{problem}\n{self.place.log.read_text()[-4000:]}"
            await asyncio.sleep(0.05)

    async def complaints(self) -> list[str]:
        """What customers, apps and the ledger do not agree on; nothing is the proof."""
        async with self.desk() as office:
            rows = await _rows(office)
            found = [str(each) for each in (await office.ask("verify"))["differences"]]
            for account, credits in self.credits.items():
                spent = sum(row["cost"]["nanos"] for row in rows if row["account"] == account)
                balance = (await office.ask("credits.show", account=account))["balance"]["nanos"]
                if balance != credits * 10**9 - spent or balance < 0:
                    found.append(f"{account} has {balance}, after {spent} of {credits} was spent.")
        return [*found, *self._compare(rows)]

    def _compare(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        served = self._served()
        billed = Counter(row["request_id"] for row in rows)
        yield from (f"{served[id]} was billed {n} times." for id, n in billed.items() if n > 1)
        yield from (f"{served[id]} was served and is not billed." for id in served.keys() - billed.keys())
        yield from self._answers(Counter(served.values()))
        yield from (complaint for row in rows for complaint in _cost(row))
        ghosts = [row for row in rows if row["request_id"] not in served]
        yield from (f"{row['path']} is billed and was never served." for row in ghosts if not _unseen(row))
        # A gate that is killed between its last word to the journal and the app cannot be told from one that
        # is killed a moment later: such a call costs what the policy says of an unknown outcome.
        cut = self.callers.cut - set(served.values())
        if len(ghosts) > (len(cut) if self.gates_killed else 0):
            yield f"{len(ghosts)} calls are billed that never were served, and {len(cut)} had no answer."

    def _served(self) -> dict[str, str]:
        """The path of every call that an app has noted, by its id; each has an id of its own."""
        lines = self.place.reached_file.read_text().splitlines()
        served = dict(line.split() for line in lines)
        assert len(served) == len(lines), "An id was given twice, or a call was served twice."
        return served

    def _answers(self, served: Counter[str]) -> Iterator[str]:
        yield from (f"{path} was served {n} times." for path, n in served.items() if n > 1)
        for path, status in self.callers.answers.items():
            if (status == 200) != (path in served):
                yield f"{path} was answered with {status}, and served {served[path]} times."
        if self.callers.lowest < 0:
            yield f"An answer told of a balance of {self.callers.lowest}."


def _cost(row: Mapping[str, Any]) -> Iterator[str]:
    """A call costs what was measured; what nobody saw the end of costs what the policy says of that."""
    seen, unseen = (ROWS, HELD) if row["meter"] == "rows" else (PRICE, PRICE)
    if row["cost"]["nanos"] != (unseen if _unseen(row) else seen) * 10**9:
        yield f"{row['path'] or row['request_id']} costs {row['cost']['amount']}, {row['measured']}."


def _unseen(row: Mapping[str, Any]) -> bool:
    return bool(row["measured"] == "unknown")


async def _rows(office: Desk) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await office.ask("usage.list", limit=1000, after=after)
        rows += page["data"]
        if not page["has_more"]:
            return rows
        after = page["after"]


@asynccontextmanager
async def embedded(credits: Mapping[str, int] = CREDITS) -> AsyncIterator[World]:
    """One process that does everything, over a data folder."""
    with _place() as place:
        world = World(place)
        world.gates = [app_gate(place)]
        with _ended(world):
            await world.begin(credits)
            yield world


@asynccontextmanager
async def shared(
    credits: Mapping[str, int] = CREDITS,
    *,
    apps: int = 2,
    proxies: int = 1,
    workers: int = 2,
    **environ: str,
) -> AsyncIterator[World]:
    """Several processes that serve and several that post, over a Valkey behind a wire and a PostgreSQL."""
    async with AsyncExitStack() as stack:
        place = stack.enter_context(_place())
        store, ledger = stack.enter_context(valkey()), stack.enter_context(postgres())
        between = await stack.enter_async_context(wire(place.folder / "store", store.socket))
        place.store, place.ledger = f"redis+unix://{between.here}?takeover=500ms", ledger.url
        world = World(place)
        world.valkey, world.wire, world.postgres = store, between, ledger
        off = {"METERGATE_WORKER": "off", **environ}
        world.gates = [app_gate(place, **off) for _ in range(apps)]
        world.workers = [worker(place, **environ) for _ in range(workers)]
        upstream = _upstream(place)
        world.gates += [proxy_gate(place, **off) for _ in range(proxies)]
        stack.enter_context(_ended(world))
        if proxies:
            upstream.start()
            stack.callback(upstream.kill)
        await world.begin(credits)
        yield world


def _upstream(place: Place) -> Gate:
    """What stands behind the proxy; it is never killed, for what it notes is the proof."""
    upstream = app_gate(place, app="upstream")
    proxied = {**POLICY, "upstream": {"url": upstream.url}}
    (place.folder / "proxy.json").write_text(json.dumps(proxied))
    return upstream


@contextmanager
def _place() -> Iterator[Place]:
    with TemporaryDirectory(prefix="metergate-world-") as name:
        folder = Path(name)
        (folder / "policy.json").write_text(json.dumps(POLICY))
        yield Place(folder, "", "")


@contextmanager
def _ended(world: World) -> Iterator[None]:
    """Whatever happens, no process is left."""
    try:
        yield
    finally:
        for child in (*world.gates, *world.workers):
            child.kill()
