"""The worker: everything that follows a call at its own pace, in one loop that survives an outage."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from metergate.errors import StoreUnavailable
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock, CounterStore
from metergate.worker.expiry import Expiry
from metergate.worker.flusher import Flusher, answered
from metergate.worker.reaper import Reaper

log = logging.getLogger("metergate.worker")

PAUSE_S = 0.25
"""Between two rounds: what a batch costs beside its rows is shared by all that gathered meanwhile."""
OUTAGE_PAUSE_S = 1.0
SECOND_US = 10**6
RENEW_EVERY_US = 60 * SECOND_US


class LiveCall(Protocol):
    """A call of this process that has not ended."""

    @property
    def op(self) -> str: ...

    @property
    def hold_for_us(self) -> int: ...


class Housekeeping(Protocol):
    """What a store of this process wants done now and then."""

    def prepare(self) -> None: ...

    def sync_to_disk(self) -> None: ...


class Worker:
    def __init__(
        self,
        store: CounterStore,
        ledger: LedgerThread,
        clock: Clock,
        live: Callable[[], Iterable[LiveCall]],
        housekeeping: Housekeeping | None = None,
    ) -> None:
        self.flusher = Flusher(store, ledger, clock)
        self.reaper = Reaper(store, clock)
        self.expiry = Expiry(store, ledger, self.flusher, clock)
        self.outage = ""
        """Why the last round failed; empty when it did not."""
        self._store = store
        self._clock = clock
        self._live = live
        self._housekeeping = housekeeping
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._renewed_us = clock()
        self._second_us = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="metergate-worker")

    async def stop(self) -> None:
        """End the loop and move what is left, if the ledger is there to take it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        with contextlib.suppress(StoreUnavailable):
            await self.flusher.run_dry()

    def hurry(self) -> None:
        """Do the next round now."""
        self._wake.set()

    async def run_once(self) -> int:
        """One round of everything; how many events were moved."""
        moved = await self.flusher.run_once()
        now_us = self._clock()
        if now_us - self._second_us >= SECOND_US:
            self._second_us = now_us
            await self._each_second(now_us)
        return moved

    async def _each_second(self, now_us: int) -> None:
        if now_us - self._renewed_us >= RENEW_EVERY_US:
            self._renewed_us = now_us
            await self._renew(now_us)
        await self.reaper.run_once()
        await self.expiry.run_once()
        if self._housekeeping is not None:
            await self._keep_house(self._housekeeping)

    async def _keep_house(self, housekeeping: Housekeeping) -> None:
        try:
            housekeeping.prepare()
            await asyncio.to_thread(housekeeping.sync_to_disk)
        except OSError as error:
            raise StoreUnavailable(f"The data folder cannot be written: {error.strerror}.") from error

    async def _renew(self, now_us: int) -> None:
        """Calls that are still running keep their holds."""
        by_time: dict[int, list[str]] = {}
        for call in self._live():
            by_time.setdefault(call.hold_for_us, []).append(call.op)
        for hold_for_us, ops in by_time.items():
            await answered(self._store.renew(ops, now_us + hold_for_us))

    async def _run(self) -> None:
        while True:
            try:
                moved = await self.run_once()
                self._recovered()
            except StoreUnavailable as error:
                self._failed(error)
                moved = 0
            if moved < self.flusher.batch:
                await self._pause(OUTAGE_PAUSE_S if self.outage else PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    def _failed(self, error: StoreUnavailable) -> None:
        if not self.outage:
            log.warning("Usage waits for the ledger: %s", error)
        self.outage = str(error)

    def _recovered(self) -> None:
        if self.outage:
            log.warning("The ledger takes usage again.")
            self.outage = ""
