"""Real servers as processes: started on a free port, asked over HTTP, run through their data folder."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from metergate.admin import RemoteOffice
from tests.house.rules import ROOT
from tests.ports import free_port
from tests.waiting import DEADLINE_S

SERVERS = ("uvicorn", "hypercorn", "granian", "ours")
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")} | {
    "PYTHONPATH": str(ROOT)
}


def command(kind: str, app: str, port: int, *more: str) -> list[str]:
    typed = {
        "uvicorn": ["uvicorn", app, "--port", str(port), "--log-level", "warning"],
        "hypercorn": ["hypercorn", "--bind", f"127.0.0.1:{port}", app],
        "granian": ["granian", "--interface", "asgi", "--port", str(port), app],
        "ours": ["tests.servers.ours", app, str(port)],
    }
    return [sys.executable, "-m", *typed[kind], *more]


class Server:
    """A server that answers, with the app `tests.servers.<name>:app`."""

    def __init__(self, kind: str, app: str, folder: Path, *more: str) -> None:
        self.data = folder / "data"
        self.log = folder / "server.log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = start(command(kind, app, port, *more), folder)
        self._port = port

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self._port)) == 0:
                    break
            if ended(self.process, within=0.02):
                raise AssertionError(self.log.read_text())
        with httpx2.Client(timeout=DEADLINE_S) as client:
            assert client.get(f"{self.url}/public/seen").status_code == 200

    def stop(self) -> None:
        """Ask it to end, as a service manager does, and wait until it has."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_S)

    def client(self, key: str = "", **headers: str) -> httpx2.AsyncClient:
        shown = {"authorization": f"Bearer {key}"} if key else {}
        return httpx2.AsyncClient(
            base_url=self.url,
            headers=shown | headers,
            timeout=DEADLINE_S,
            limits=httpx2.Limits(max_connections=100),
        )

    async def ask(self, verb: str, **params: object) -> Any:
        """What an operator asks for, from another process than the server's."""
        return await RemoteOffice(self.data).do(verb, params)

    async def customer(self, account: str, credits: str = "1.00", plan: str | None = None) -> str:
        """A new account with credits; its key."""
        await self.ask("accounts.create", id=account, plan=plan)
        if credits:
            await self.ask("credits.grant", account=account, amount=credits)
        return await self.key(account)

    async def key(self, account: str) -> str:
        return str((await self.ask("keys.create", account=account))["key"])

    async def balance(self, account: str) -> str:
        """What can be spent, with nothing held any more."""
        told = await self.ask("credits.show", account=account)
        assert told["held"]["nanos"] == 0
        return str(told["balance"]["amount"])

    async def rows(self, account: str, at_least: int = 0) -> list[dict[str, Any]]:
        """The account's usage in the ledger, as soon as so many rows are there."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            rows = (await self.ask("usage.list", account=account, limit=1000))["data"]
            if len(rows) >= at_least or time.monotonic() > deadline:
                return list(rows)

    def rows_left_behind(self) -> int:
        """How many calls are in the SQLite ledger of a server that has ended."""
        with closing(sqlite3.connect(self.data / "ledger.sqlite")) as ledger:
            (count,) = ledger.execute("SELECT count(*) FROM usage").fetchone()
            return int(count)


@contextmanager
def serving(kind: str, app: str, folder: Path, *more: str) -> Iterator[Server]:
    """A server until the end of the block; whatever happens, no process is left."""
    server = Server(kind, app, folder, *more)
    try:
        server.wait_until_it_answers()
        yield server
        if server.process.poll() is None:
            server.stop()
    finally:
        kill(server.process)


def start(words: list[str], folder: Path, **environ: str) -> subprocess.Popen[bytes]:
    """A process in a group of its own, over the data folder in `folder`."""
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            words,
            cwd=folder,
            env=ENVIRON | {"METERGATE_DATA": str(folder / "data")} | environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def ended(process: subprocess.Popen[bytes], within: float) -> bool:
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process and the workers that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
