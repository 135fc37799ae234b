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

PATIENCE_S = 20.0
TRIES = 4
"""How often what met another writer begins again at once."""


class LedgerThread:
    def __init__(self, ledger: Ledger, patience_s: float = PATIENCE_S) -> None:
        """After `patience_s` without an end of anything it is asked whether the database is still there."""
        self.ledger = ledger
        self._patience_s = patience_s
        self._waiting = 0
        self._ended = 0
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
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
        loop = asyncio.get_running_loop()
        self._waiting += 1
        if self._timer is None and not self.ledger.sqlite:
            self._look_later(loop)
        try:
            return await loop.run_in_executor(self._thread, work)
        except LedgerUnavailable:
            self.errors += 1
            raise
        finally:
            self._waiting -= 1
            self._ended += 1

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[bool]:
        """Whether this process may do, until the end of the block, what only one may do at a time."""
        leading = self.ledger.leading()
        alone = await self.run(leading.__enter__)
        try:
            yield alone
        finally:
            await self.run(lambda: leading.__exit__(None, None, None))

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._patience_s, self._look, loop, self._ended)

    def _look(self, loop: asyncio.AbstractEventLoop, ended: int) -> None:
        self._timer = None
        if self._waiting and ended == self._ended:
            self._asking = loop.create_task(self._ask(loop), name="metergate-ledger-silence")
        elif self._waiting:
            self._look_later(loop)

    async def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing has ended for long: it may be a large piece of work, or nobody is there any more."""
        if await asyncio.to_thread(self.ledger.is_silent, self._patience_s):
            log.warning("The ledger %s says nothing any more: what waits is cut off.", self.ledger.name)
            self.ledger.cut()
        if self._waiting and self._timer is None:
            self._look_later(loop)

    async def close(self) -> None:
        await self.run(self.ledger.close)
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            await asyncio.wait([self._asking])
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
