"""Keeps this process in the epoch of a shared store, and brings along what runs here.

The ledger says which epoch is true. While the store has another one, calls are refused with 503; a process
with a worker fills the store then, and every process enters the new epoch by itself.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from metergate.errors import StoreUnavailable
from metergate.ledger import epochs
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock, Entry, Hold, Settle, SharedStore
from metergate.store.journal import read_placed
from metergate.store.journalled import Journalled
from metergate.store.journals import Journals
from metergate.store.left import Left
from metergate.wire import decode_events
from metergate.worker.rebuild import Rebuild, sound
from metergate.worker.reviving import Reviving, as_settle

FILLING = "The counter store is being filled from the ledger; that begins as soon as a worker runs."


class Sharing(NamedTuple):
    """What a process brings along that shares its store with others."""

    store: SharedStore
    running: Callable[[], Sequence[Hold]]
    """What the calls that run here have set aside."""
    lost: Callable[[], Sequence[Settle]]
    """Ends of calls that the store did not know, each told once."""
    errands: bool = True
    """Whether this process also does what any process may do for all."""
    journal: Journalled | None = None
    """The same store, where this process keeps a journal."""
    journals: Journals | None = None
    """Those of this machine."""
    there: Callable[[], Awaitable[int]] | None = None
    """What time it is at the store, where it has a clock."""


class Entrance:
    def __init__(self, sharing: Sharing, ledger: LedgerThread, clock: Clock) -> None:
        self.strays: list[Settle] = []
        """Ends of calls that the store did not know."""
        self._store = sharing.store
        self._running = sharing.running
        self._ledger = ledger
        self._clock = clock
        self._journal = sharing.journal
        self._reviving = Reviving(sharing.store, ledger, clock, sharing.journal)
        self._journals = sharing.journals
        self._rebuild = Rebuild(sharing.store, ledger, clock, sharing.journals) if sharing.errands else None
        self._last = ""
        """The epoch that was entered last."""
        self._brought = True
        """Whether the calls that run here are set aside in it."""

    @property
    def brought(self) -> bool:
        """Whether everything that this process has in hand is in the epoch."""
        return bool(self._store.epoch) and self._brought and not self.strays

    async def run_once(self) -> int:
        """Be in the true epoch, or say why not."""
        if not self._store.epoch and not await self._enter():
            if self._rebuild is None or not await self._rebuild.run_once(self._seen):
                raise StoreUnavailable(FILLING)
            if not await self._enter():
                raise StoreUnavailable(FILLING)
            await self._hold_for_others(self._rebuild)
        await self._bring()
        return 0

    async def rebuild(self) -> bool:
        """Fill the store whatever it holds; False where another process is at it."""
        rebuild = Rebuild(self._store, self._ledger, self._clock, self._journals)
        if not await rebuild.run_once(self._seen, anyway=True):
            return False
        if await self._enter():
            await self._hold_for_others(rebuild)
        return True

    async def _hold_for_others(self, rebuild: Rebuild) -> None:
        """Before they hear of the new epoch, so that nobody spends it meanwhile. They do it again themselves.

        The journal of this process must not know of it: it would speak for calls that others end.
        """
        bare = self._journal.bare if self._journal is not None else self._store
        if self._store.epoch == rebuild.epoch:
            with suppress(StoreUnavailable):
                await Reviving(bare, self._ledger, self._clock).run_again(rebuild.running)

    async def _enter(self) -> bool:
        standing = await self._store.standing()
        known = await self._ledger.read(epochs.read)
        if not sound(standing, known, self._seen(standing.epoch)):
            return False
        self._store.enter(known.id, standing.sequence)
        self._brought = self._brought and known.id == self._last
        self._last = known.id
        return True

    def _seen(self, epoch: str) -> Sequence[int]:
        """How far this process saw the store to be, in the epoch that it was in."""
        return self._store.sequence if epoch and epoch == self._last else ()

    async def _bring(self) -> None:
        if not self._brought:
            await self._reviving.run_again(self._running())
            if self._journal is not None and self._journal.path is not None:
                await self._bring_what_is_written(self._journal.path, self._journal.on_the_way)
                self._journal.brought()
            self._brought = True
        if self.strays:
            strays, self.strays = self.strays, []
            try:
                await self._reviving.settle_again(strays)
            except BaseException:
                self.strays += strays
                raise

    async def _bring_what_is_written(self, journal: Path, on_the_way: Collection[int]) -> None:
        """Ends that this process has told, and that may have been lost before the ledger had them."""
        left = await self._ledger.run(lambda: Left(read_placed(journal)))
        await self._reviving.settle_again(list(map(as_settle, left.done(without=on_the_way))))
        await self._reviving.stand_again(left.standing(self._clock()))


def ends_of(entries: Iterable[Entry]) -> list[Settle]:
    """What the entries of an outbox that is gone tell of."""
    return [as_settle(event) for entry in entries for event in decode_events(entry.events)]
