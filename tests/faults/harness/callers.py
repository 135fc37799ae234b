"""Customers who call all the time, each call under a path of its own, and remember every answer."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import httpx2

from tests.faults.harness.processes import Gate

PATIENCE_S = 10.0
PAUSE_S = 0.02
"""After an answer that was no 200."""


class Callers:
    def __init__(self, gates: Sequence[Gate], keys: Mapping[str, str]) -> None:
        self.answers: dict[str, int] = {}
        """The status of every call that was answered, by its path."""
        self.cut: set[str] = set()
        """Calls whose answer never came."""
        self.lowest = Decimal(0)
        """The least that an answer called the customer's balance, when that was below nothing."""
        self.statuses: Counter[int] = Counter()
        self._gates = gates
        self._keys = keys
        self._numbers = itertools.count(1)
        self._stopping = False

    @asynccontextmanager
    async def calling(self, tasks: int) -> AsyncIterator[None]:
        """So many of each account at each gate, until the end of the block."""
        self._stopping = False
        async with _client() as client, asyncio.TaskGroup() as group:
            for gate in self._gates:
                for account in self._keys:
                    for _ in range(tasks):
                        group.create_task(self._call(client, gate, account))
            try:
                yield
            finally:
                self._stopping = True

    async def _call(self, client: httpx2.AsyncClient, gate: Gate, account: str) -> None:
        while not self._stopping:
            if await self.call(client, gate, account) != 200:
                await asyncio.sleep(PAUSE_S)

    async def call(self, client: httpx2.AsyncClient, gate: Gate, account: str) -> int:
        """One call; its status, 0 where the connection ended."""
        number = next(self._numbers)
        kind = "rows" if number % 3 == 0 else "calls"
        path = f"/{kind}/{account}/{number}"
        headers = {"authorization": f"Bearer {self._keys[account]}"}
        try:
            answer = await client.get(f"{gate.url}{path}?rows=3", headers=headers)
        except httpx2.TransportError:
            self.cut.add(path)
            return 0
        self.answers[path] = answer.status_code
        self.statuses[answer.status_code] += 1
        self.lowest = min(self.lowest, Decimal(answer.headers.get("metergate-balance", "0")))
        return answer.status_code

    async def all_are_served(self, account: str) -> bool:
        """Whether every gate serves a call now."""
        async with _client() as client:
            return all([await self.call(client, gate, account) == 200 for gate in self._gates])


def _client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=PATIENCE_S, limits=httpx2.Limits(max_connections=200))
