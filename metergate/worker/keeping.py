"""Looks after the journal of a process that shares its store: what the ledger has may be forgotten.

The outbox is emptied in its order, and only after the commit. So what the store had heard of when the end of
the outbox was marked is in the ledger once everything up to that mark has been acknowledged, by whomever.
"""

from metergate.ledger import usage
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock
from metergate.store.journalled import Journalled


class Keeping:
    def __init__(self, store: Journalled, ledger: LedgerThread, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._marked = ("", 0, "")
        """The epoch and the position of the journal that belong to a mark of the outbox, and the mark."""

    async def run_once(self) -> int:
        """Find out what the ledger has by now; what is needed no more goes."""
        store = self._store
        if store.astray:
            astray = store.astray
            store.found(sorted(await self._ledger.read(lambda tx: usage.known(tx, astray))))
        epoch, position, mark = self._marked
        if epoch != store.epoch:
            position = 0  # what was marked in another epoch says nothing of this one
        if position and await store.posted(mark):
            store.now_posted(position)
            position = 0
        if not position and store.has_unposted:
            epoch, position = store.epoch, store.told_until()
            self._marked = (epoch, position, await store.mark())
        elif not position:
            self._marked = ("", 0, "")
        store.trim(self._clock())
        return 0
