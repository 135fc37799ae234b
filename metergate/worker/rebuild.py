"""A shared store is filled anew from the ledger: at the first start, and when what it held is lost.

One process does it, whichever comes first. The store is closed; what its outbox still holds goes into the
ledger, and what the journals of this machine know; then, in one transaction, a new epoch begins and
everything is read that the store has to know. So no usage that was counted is given back, no grant is given
twice, and a revoked key stays revoked.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from metergate import alarms
from metergate.ledger import epochs, untold
from metergate.ledger.apart import UNPOSTABLE
from metergate.ledger.database import Tx
from metergate.ledger.epochs import Epoch
from metergate.ledger.thread import LedgerThread
from metergate.ports import Change, Clock, Entry, Hold, PutAccount, SharedStore, Standing
from metergate.store.journal import read_placed
from metergate.store.journals import Journals, taken
from metergate.store.left import Left
from metergate.worker.flusher import post_entries, post_entries_apart
from metergate.worker.recovery import everything, post_all

log = logging.getLogger("metergate.worker")

BATCH = 1024
"""Entries of the outbox in one transaction."""
UNRENEWED_US = 120 * 10**6
PORTION = 2000
"""Changes that are told at once."""


def sound(standing: Standing, known: Epoch, seen: Sequence[int] = ()) -> bool:
    """Whether the store holds what the ledger says, and has not gone back behind what was seen of it."""
    return (
        standing.open
        and bool(known.id)
        and standing.epoch == known.id
        and all(_not_behind(standing.sequence, before) for before in (known.sequence, seen))
    )


def _not_behind(sequence: Sequence[int], before: Sequence[int]) -> bool:
    if not before:
        return True
    return len(sequence) == len(before) and all(
        now >= then for now, then in zip(sequence, before, strict=True)
    )


class Rebuild:
    def __init__(
        self, store: SharedStore, ledger: LedgerThread, clock: Clock, journals: Journals | None = None
    ) -> None:
        self._journals = journals
        self.epoch = ""
        """The last one that was filled here."""
        self.running: list[Hold] = []
        """What calls of other processes of this machine hold, who hear of that epoch in a moment."""
        self._store = store
        self._ledger = ledger
        self._clock = clock

    async def run_once(self, seen: Callable[[str], Sequence[int]], *, anyway: bool = False) -> bool:
        """Fill the store, unless another process is at it, or has done it; whether this one did.

        `seen` says how far this process has seen the store to be in an epoch.
        """
        async with self._ledger.leading() as alone:
            if not alone:
                return False
            known = await self._ledger.read(epochs.read)
            if not anyway and sound(await self._store.standing(), known, seen(known.id)):
                return False
            await self._fill(secrets.token_hex(8), first=not known.id)
        return True

    async def _fill(self, epoch: str, *, first: bool) -> None:
        store = self._store
        if not first:
            alarms.tell(
                log,
                alarms.STORE_LOST,
                "The counter store is empty or has lost something; it is filled from the ledger.",
            )
        self.epoch = epoch
        await store.begin(epoch)
        while entries := await store.left_over(epoch, BATCH):
            await self._post(entries)
            await store.discard(epoch, [entry.id for entry in entries])
        self.running = []
        for journal in self._journals.all() if self._journals else ():
            await self._read(journal)
        now_us = self._clock()
        changes = await self._ledger.write(lambda tx: _everything_in(tx, epoch, now_us))
        for start in range(0, len(changes), PORTION):
            await store.fill(epoch, changes[start : start + PORTION], now_us)
        await store.reopen(epoch)
        accounts = sum(isinstance(change, PutAccount) for change in changes)
        log.log(
            logging.INFO if first else logging.WARNING, "The counter store is filled: %d accounts.", accounts
        )

    async def _read(self, journal: Path) -> None:
        """What the store may have lost: the ends that the processes of this machine have written down.

        Of those that died also the calls without an end; a living one holds its own again.
        """
        claim = taken(journal)
        try:
            left = await self._ledger.run(lambda: Left(read_placed(journal)))
            now_us = self._clock()
            if claim is None:
                self.running += left.served_by_its_process(now_us + UNRENEWED_US)
            await post_all(self._ledger, left.done() + (left.cut_off(now_us) if claim else []), self._clock)
        finally:
            if claim is not None:
                claim.leave()

    async def _post(self, entries: Sequence[Entry]) -> None:
        try:
            posted, _ = await self._ledger.write(lambda tx: post_entries(tx, entries, self._clock))
        except UNPOSTABLE:
            posted, _ = await self._ledger.write(lambda tx: post_entries_apart(tx, entries, self._clock))
        self._ledger.keep_apart(posted.apart)


def _everything_in(tx: Tx, epoch: str, now_us: int) -> Sequence[Change]:
    epochs.begin(tx, epoch)
    untold.forget_all(tx)
    return everything(tx, now_us)
