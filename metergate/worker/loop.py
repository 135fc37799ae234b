"""The worker: everything that follows a call at its own pace, in one loop that survives an outage."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from metergate import alarms
from metergate.errors import ConfigurationError, StoreUnavailable
from metergate.ledger import epochs
from metergate.ledger.errors import LedgerUnavailable
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock, CounterStore, answered
from metergate.worker.chaining import Chaining
from metergate.worker.entrance import Entrance, Sharing, ends_of
from metergate.worker.expiry import Expiry
from metergate.worker.flusher import Flusher
from metergate.worker.keeping import Keeping
from metergate.worker.lookout import Lookout
from metergate.worker.orphans import Orphans
from metergate.worker.reaper import Reaper
from metergate.worker.repair import Repair

log = logging.getLogger("metergate.worker")

FLUSH_PAUSE_S = 0.25
"""Between two rounds: what a batch costs beside its rows is shared by all that gathered meanwhile."""
OUTAGE_PAUSE_S = 1.0
SECOND_US = 10**6
RENEW_EVERY_US = 60 * SECOND_US
TELLING_US = 2 * SECOND_US
"""How long somebody who has changed the ledger may take to tell the store."""
TELLING = 500


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
        sharing: Sharing | None = None,
        backlog: int = 1_000_000,
    ) -> None:
        shared = sharing.store if sharing else None
        self.flusher = Flusher(store, ledger, clock, shared)
        self.reaper = Reaper(store, clock, sharing.there if sharing else None)
        self.expiry = Expiry(self.flusher.teller, self.flusher, clock)
        self.chaining = Chaining(ledger, clock)
        self.lookout = Lookout(store, self.chaining, clock, backlog)
        self.entrance = Entrance(sharing, ledger, clock) if sharing else None
        journal = sharing.journal if sharing else None
        self._keeping = Keeping(journal, ledger, clock) if journal else None
        journals = sharing.journals if sharing else None
        self._orphans = Orphans(journals, journal, ledger, clock) if journal and journals else None
        self.repair = (
            Repair(self.entrance, self._orphans, journals)
            if self.entrance and self._orphans and journals
            else None
        )
        self._sharing = sharing
        self._errands = sharing is None or sharing.errands
        self.outage = ""
        """Why the last round failed; empty when it did not."""
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._live = live
        self._housekeeping = housekeeping
        self._task: asyncio.Task[None] | None = None
        self._renewed_us = clock()
        self._second_us = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="metergate-worker")

    async def be_let_in(self, within_s: float) -> None:
        """Be in the epoch of a shared store, or say why not."""
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            try:
                await self._stay()
                return
            except StoreUnavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(FLUSH_PAUSE_S)

    async def stop(self) -> None:
        """End the loop and move what is left, if the ledger is there to take it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._orphans is not None:
            self._orphans.leave()
        with contextlib.suppress(StoreUnavailable):
            await self._stay()
            if self._errands:
                await self.flusher.run_dry()
                await self.chaining.finish()
                await self._note_how_far()
            await self._keep_journal()
            await self._keep_journal()  # what was marked in the last round is in the ledger by now

    async def run_once(self) -> int:
        """One round; how many entries were moved. What is out of reach does not stop the rest."""
        problems: list[Exception] = []
        await self._try(self._stay, problems)
        due = abs(self._clock() - self._second_us) >= SECOND_US  # a clock may go back
        if due:
            self._second_us = self._clock()
            self.lookout.look()
            await self._try(self._renew_own, problems)
            await self._try(self._keep_house, problems)
            await self._try(self._keep_journal, problems)
            await self._try(self._take_over, problems)
        moved = await self._run_errands(problems, due=due) if self._errands else 0
        self._tell(problems)
        return moved

    async def _run_errands(self, problems: list[Exception], *, due: bool) -> int:
        if due:
            await self._try(self.reaper.run_once, problems)
        unclaimed = len(problems)
        if self.outage:
            await self._try(self._claim_again, problems)
        if len(problems) > unclaimed:
            return 0
        moved = await self._try(self.flusher.run_once, problems)
        if due:
            await self._try(self.expiry.run_once, problems)
            await self._try(self.chaining.run_once, problems)
            await self._try(self._look_after_the_store, problems)
        return moved

    async def _stay(self) -> int:
        """Be in the epoch of a shared store, with everything that this process has in hand."""
        if self.entrance is None or self._sharing is None:
            return 0
        adrift, self.flusher.adrift = self.flusher.adrift, []
        self.entrance.strays += [*ends_of(adrift), *self._sharing.lost()]
        return await self.entrance.run_once()

    async def _look_after_the_store(self) -> int:
        """Tell a shared store what it was not told, and note how far it is."""
        if self._sharing is None:
            return 0
        await self._note_how_far()
        return await self.flusher.teller.tell_again(self._clock() - TELLING_US, TELLING)

    async def _note_how_far(self) -> None:
        """The ledger remembers how far a shared store was; a later start notices one that was set back."""
        if self._sharing is None:
            return
        epoch, sequence = self._sharing.store.epoch, self._sharing.store.sequence
        if epoch:
            await self._ledger.write(lambda tx: epochs.saw(tx, epoch, sequence))

    async def _claim_again(self) -> int:
        """With the session that an outage has ended, the claim on a PostgreSQL ledger may be gone."""
        ledger = self._ledger.ledger
        if not ledger.sqlite:
            await self._ledger.run(ledger.release)
            try:
                await self._ledger.run(lambda: ledger.claim(shared=self._sharing is not None))
            except ConfigurationError as error:
                raise StoreUnavailable(str(error)) from error
        return 0

    async def _try(self, task: Callable[[], Awaitable[int]], problems: list[Exception]) -> int:
        try:
            return await task()
        except StoreUnavailable as error:
            problems.append(error)
        except Exception as error:  # a mistake in one task must not silence the others for ever
            log.exception("A task of the worker failed and is tried again.")
            problems.append(error)
        return 0

    async def _renew_own(self) -> int:
        now_us = self._clock()
        everybody = now_us - self._renewed_us >= RENEW_EVERY_US
        if everybody:
            self._renewed_us = now_us
        await self._renew(now_us, everybody=everybody)
        return 0

    async def _keep_house(self) -> int:
        if self._housekeeping is None:
            return 0
        try:
            self._housekeeping.prepare()
            await asyncio.to_thread(self._housekeeping.sync_to_disk)
        except OSError as error:
            raise StoreUnavailable(f"The data folder cannot be written: {error.strerror}.") from error
        return 0

    async def _keep_journal(self) -> int:
        """Forget what the ledger has; not while something waits to be brought into the epoch."""
        if self._keeping is not None and self.entrance is not None and self.entrance.brought:
            await self._keeping.run_once()
        return 0

    async def _take_over(self) -> int:
        """End the calls of processes of this machine that have died."""
        if self._orphans is not None and self.entrance is not None and self.entrance.brought:
            await self._orphans.run_once()
        return 0

    async def _renew(self, now_us: int, *, everybody: bool) -> None:
        """Calls that are still running keep their holds; short ones cannot wait for their turn."""
        by_time: dict[int, list[str]] = {}
        for call in self._live():
            if everybody or call.hold_for_us < 2 * RENEW_EVERY_US:
                by_time.setdefault(call.hold_for_us, []).append(call.op)
        for hold_for_us, ops in by_time.items():
            await answered(self._store.renew(ops, now_us + hold_for_us))

    async def _run(self) -> None:
        while True:
            await self.run_once()
            if self.outage or not self.flusher.more:
                await asyncio.sleep(OUTAGE_PAUSE_S if self.outage and not self._shut_out else FLUSH_PAUSE_S)

    @property
    def _shut_out(self) -> bool:
        """Whether this process waits for a shared store that is being filled."""
        return self._sharing is not None and not self._sharing.store.epoch

    def numbers(self) -> dict[str, int]:
        """What metrics say of it. The lag is known only where this process posts."""
        ledger, flusher = self._ledger, self.flusher
        found = {
            "posted": flusher.posted,
            "set_aside": ledger.set_aside,
            "ledger_errors": ledger.errors,
            "differences": ledger.differences,
            "clock_jumps": self.lookout.clock_jumps,
            "stuck": int(bool(self.outage)),
            "filling": int(self._shut_out),
        }
        if self._orphans is not None:
            found["orphans"], found["orphans_ended"] = self._orphans.waiting, self._orphans.count
        if self._errands and self._task is not None:
            found["chain_lag_us"] = self.chaining.lag_us()
            behind = self._store.health().backlog > 0
            found["lag_us"] = max(0, self._clock() - flusher.caught_up_us) if behind else 0
        return found

    def _tell(self, problems: list[Exception]) -> None:
        """One line when an outage begins, one when it is over."""
        if problems and not self.outage:
            sentence = f"The worker cannot do its work and tries again: {problems[0]}"
            alarms.tell(log, _about(problems[0]), sentence)
        if self.outage and not problems:
            log.warning("The worker does its work again.")
        self.outage = str(problems[0]) if problems else ""


def _about(problem: Exception) -> alarms.Alarm:
    if isinstance(problem, LedgerUnavailable):
        return alarms.LEDGER_AWAY
    return alarms.DISK_FULL if isinstance(problem.__cause__, OSError) else alarms.STORE_AWAY
