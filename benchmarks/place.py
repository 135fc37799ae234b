"""Where a metered server keeps what it counts: made with an account and credits, proven right at the end."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.apps import POLICY, PRICE_NANOS
from metergate.bootstrap import open_office
from metergate.config import settings as environment
from metergate.config.settings import Settings

CREDITS = 1_000_000
NANOS = 10**9
QUIET_S = 0.8
"""The worker flushes several times a second: when nothing came for this long, nothing is left."""


class Place:
    """A data folder, with the embedded store and SQLite."""

    store_pid = 0

    def __init__(
        self,
        folder: Path,
        more: Mapping[str, str] = MappingProxyType({}),
        policy: Mapping[str, object] | str = POLICY,
    ) -> None:
        self.folder = folder
        self.policy = policy
        self.environment = {"METERGATE_DATA": str(folder), **more}
        self.key = asyncio.run(self._furnish())

    def settings(self, **more: Any) -> Settings:
        return replace(environment.read(self.environment), **more)

    async def _furnish(self) -> str:
        async with open_office(self.policy, self.settings()) as office:
            await office.do("accounts.create", {"id": "acme"})
            await office.do("credits.grant", {"account": "acme", "amount": f"{CREDITS}.00"})
            made = await office.do("keys.create", {"account": "acme"})
        return str(made["key"])

    def rows(self) -> int:
        """Usage rows in the ledger."""
        with closing(sqlite3.connect(f"file:{self.folder}/ledger.sqlite?mode=ro", uri=True)) as ledger:
            return int(ledger.execute("SELECT coalesce(max(seq), 0) FROM usage").fetchone()[0])

    def wait_until_flushed(self) -> int:
        """Wait until no row comes any more; how many there are."""
        rows, since = self.rows(), time.monotonic()
        while time.monotonic() - since < QUIET_S:
            time.sleep(0.1)
            now = self.rows()
            if now != rows:
                rows, since = now, time.monotonic()
        return rows

    def prove(self, answered: int, unseen: int) -> None:
        """Every answered call is charged once, and nothing else but calls whose answer the client left."""
        rows, balance, problems = asyncio.run(self._books())
        if problems:
            raise AssertionError(f"The ledger is wrong: {problems}")
        if not answered <= rows <= answered + unseen:
            raise AssertionError(f"{answered} calls were answered and {rows} are in the ledger.")
        if balance + rows * PRICE_NANOS != CREDITS * NANOS:
            raise AssertionError(f"A balance of {balance} nanos and {rows} calls do not add up.")

    async def _moved(self) -> None:
        """Until every event is in the ledger; here a process that stops leaves none behind."""

    async def _books(self) -> tuple[int, int, object]:
        await self._moved()
        async with open_office(self.policy, self.settings()) as office:
            verified = await office.do("verify", {})
            shown = await office.do("credits.show", {"account": "acme"})
        return self.rows(), int(shown["balance"]["nanos"]), verified["differences"]
