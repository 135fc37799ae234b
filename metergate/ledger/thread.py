"""The ledger from async code: one thread does its work, one piece after the other.

One writer per SQLite file is enforced by this shape, and the event loop never waits for a disk.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from metergate import alarms
from metergate.ledger.database import Ledger, Tx
from metergate.ledger.errors import LedgerBusy, LedgerUnavailable

T = TypeVar("T")

log = logging.getLogger("metergate.ledger")

TRIES = 4
"""How often what met another writer begins again at once."""


class LedgerThread:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.errors = 0
        """How often the ledger was out of reach."""
        self.set_aside = 0
        """Entries and events that nobody could post, and that the audit table keeps."""
        self.differences = 0
        """How many the last proof found that was asked for here."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metergate-ledger")

    def proved(self, differences: int) -> None:
        """Remember what the last proof came to, and say so when it found something."""
        self.differences = differences
        if differences:
            alarms.tell(log, alarms.DIFFERENCE, f"verify found {differences} differences.")

    def keep_apart(self, count: int) -> None:
        """Count what nobody could post, and say so."""
        if count:
            self.set_aside += count
            alarms.tell(log, alarms.SET_ASIDE, f"{count} entries or events were set aside and not posted.")

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
