"""The ledger from async code: one thread does its work, one piece after the other.

One writer per SQLite file is enforced by this shape, and the event loop never waits for a disk.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from metergate.ledger.database import Ledger, Tx
from metergate.ledger.errors import LedgerBusy, LedgerUnavailable

T = TypeVar("T")

TRIES = 4
"""How often what met another writer begins again at once."""


class LedgerThread:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.errors = 0
        """How often the ledger was out of reach."""
        self.set_aside = 0
        """Entries and events that nobody could post, and that the audit table keeps."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metergate-ledger")

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Do the work in one transaction that commits when it returns."""
        return await self.run(lambda: self._write(work))

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self.run(lambda: self._read(work))

    async def run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except LedgerUnavailable:
            self.errors += 1
            raise

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[bool]:
        """Whether this process may do, until the end of the block, what only one may do at a time."""
        leading = self.ledger.leading()
        alone = await self.run(leading.__enter__)
        try:
            yield alone
        finally:
            await self.run(lambda: leading.__exit__(None, None, None))

    async def close(self) -> None:
        await self.run(self.ledger.close)
        self._thread.shutdown(wait=True)

    def _write(self, work: Callable[[Tx], T]) -> T:
        for _ in range(TRIES):
            with suppress(LedgerBusy), self.ledger.write() as tx:
                return work(tx)
        with self.ledger.write() as tx:
            return work(tx)

    def _read(self, work: Callable[[Tx], T]) -> T:
        with self.ledger.read() as tx:
            return work(tx)
