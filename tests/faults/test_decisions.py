"""A gate that decides for fronts is killed at any instant: every hold that a front knows of ends once."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml

from metergate import Gate
from metergate.config.settings import Settings
from tests.faults.test_sigkill import all_rows
from tests.ports import free_port
from tests.servers.serving import kill, start
from tests.waiting import DEADLINE_S

TOKEN = "of the fronts"
TASKS = 8
ROUNDS = 3
CALLS = 80
CENT = 10_000_000
POLICY = {
    "metergate": 1,
    "meters": {"rows": {"count": "json", "path": "$.rows"}},
    "prices": {"rows": {"price": "0.01"}},
    "routes": [{"match": "* /**", "meter": "rows", "hold": {"units": 5}, "on_unknown_outcome": "hold"}],
}


class Fronts:
    """Calls that are held, served somewhere, and settled; and what became of each, as far as it is known."""

    def __init__(self, folder: Path, port: int) -> None:
        self.key = ""
        self.meant: dict[str, int | None] = {}
        """Ticket -> the units that it was, or will be, settled with; None for a release."""
        self.said: dict[str, Any] = {}
        """Ticket -> what was answered to its end."""
        self.unheard = 0
        """Holds that were asked for, and whose answer did not come."""
        self._random = random.Random(2026)
        self._folder = folder
        self._port = port

    @asynccontextmanager
    async def gate(self) -> AsyncIterator[tuple[subprocess.Popen[bytes], httpx2.AsyncClient]]:
        """One life of the gate."""
        ports = ["--port", "0", "--admin-port", str(self._port)]
        words = [sys.executable, "-m", "metergate", "serve", "policy.yaml", "--decide-only", *ports]
        process = start(words, self._folder, METERGATE_ADMIN_TOKEN=TOKEN)
        url, headers = f"http://127.0.0.1:{self._port}", {"authorization": f"Bearer {TOKEN}"}
        try:
            async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=DEADLINE_S) as client:
                while not await _answers(client):
                    assert process.poll() is None, (self._folder / "server.log").read_text()
                yield process, client
        finally:
            kill(process)

    async def work(self, client: httpx2.AsyncClient, process: subprocess.Popen[bytes], calls: int) -> None:
        """Hold and end until the gate is gone: killed when there were so many, some of them still running."""
        try:
            while True:
                if len(self.meant) >= calls:
                    process.send_signal(signal.SIGKILL)
                self.unheard += 1
                asked = {"key": self.key, "method": "GET", "path": "/x", "ttl": "1h"}
                told = (await client.post("/authz/v1/hold", json=asked)).json()
                self.unheard -= 1
                ticket = told["hold"]
                self.meant[ticket] = self._random.choice([None, 0, 1, 5, 9])
                if self._random.random() < 0.8:
                    await self.end(client, ticket)
        except httpx2.TransportError:
            return

    async def end(self, client: httpx2.AsyncClient, ticket: str) -> None:
        units = self.meant[ticket]
        verb, more = ("release", {}) if units is None else ("settle", {"units": units})
        answer = await client.post(f"/authz/v1/{verb}", json={"hold": ticket, **more})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert self.said.setdefault(ticket, told) == told


async def _answers(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx2.TransportError:
        await asyncio.sleep(0.05)
        return False


async def test_every_hold_that_a_front_knows_of_ends_once(tmp_path: Path) -> None:
    """What was answered is answered alike in the next life; what was open stays open until it is ended."""
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    fronts = Fronts(tmp_path, free_port())
    for _ in range(ROUNDS):
        async with fronts.gate() as (process, client):
            if not fronts.key:
                fronts.key = await _customer(client)
            for ticket in fronts.meant:  # all of the lives before, whether they were heard or not
                await fronts.end(client, ticket)
            calls = len(fronts.meant) + CALLS
            async with asyncio.TaskGroup() as group:
                for _ in range(TASKS):
                    group.create_task(fronts.work(client, process, calls))
    async with fronts.gate() as (process, client):
        for ticket in fronts.meant:
            await fronts.end(client, ticket)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, DEADLINE_S)
    settings = Settings(data=tmp_path / "data")
    async with Gate.open(POLICY, settings=settings) as gate:
        rows = await all_rows(gate)
        assert (await gate.office.books.verify())["differences"] == []
        told = await gate.office.credits.show("acct")
    used = {fronts.said[ticket]["request_id"]: units for ticket, units in fronts.meant.items()}
    assert {row["request_id"]: row["units"] for row in rows} == {
        id: units for id, units in used.items() if units is not None
    }
    spent = sum(units or 0 for units in used.values()) * CENT
    assert told["held"]["nanos"] in [5 * CENT * holds for holds in range(fronts.unheard + 1)]
    assert told["balance"]["nanos"] + told["held"]["nanos"] == 10**13 - spent
    assert fronts.unheard <= ROUNDS * TASKS


async def _customer(client: httpx2.AsyncClient) -> str:
    for path, body in (
        ("accounts", {"id": "acct"}),
        ("grants", {"account": "acct", "amount": "10000"}),
    ):
        assert (await client.post(f"/admin/v1/{path}", json=body)).status_code == 201
    return str((await client.post("/admin/v1/keys", json={"account": "acct"})).json()["key"])
