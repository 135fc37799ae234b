"""Journals of processes that died: whoever comes first ends the calls that they tell of.

A call that was never dispatched is released; one that was, and has no end, is settled by
`on_unknown_outcome`; an end that the ledger lacks is told again under its own id. Whoever is killed in the
middle of this leaves it to the next, who begins again: every id makes its step once.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from metergate.core.hold import LATE_US
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock, Settle, answered
from metergate.store.journal import read_placed
from metergate.store.journalled import Journalled
from metergate.store.journals import Claim, Journals
from metergate.store.left import Left
from metergate.worker.recovery import set_aside
from metergate.worker.reviving import Reviving, as_settle

log = logging.getLogger("metergate.worker")

PORTION = 500
NOTED = 100


@dataclass
class Orphan:
    """A journal that is this process's to end."""

    claim: Claim
    left: Left
    ends: list[Settle]
    unknown: int
    """How many of the ends are of calls whose end nobody saw."""
    keep: bool = False
    """Whether the folder stays."""
    epoch: str = ""
    mark: str = ""
    """Where the outbox ended when this process first looked: what is known up to there is in the ledger."""
    told: set[str] = field(default_factory=set)
    """Calls that the ledger lacked."""

    def counts(self) -> dict[str, int]:
        """How many calls ended how."""
        return {
            "released": len(self.left.to_release()),
            "settled": len(self.ends) - self.unknown,
            "unknown": self.unknown,
            "charged_now": len(self.told),
            "unreadable": len(self.left.unreadable),
        }

    def sentence(self) -> str:
        told = "{released} calls released, {settled} settled, {unknown} whose end nobody saw"
        return told.format(**self.counts())


class Orphans:
    def __init__(self, journals: Journals, store: Journalled, ledger: LedgerThread, clock: Clock) -> None:
        self._journals = journals
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._reviving = Reviving(store, ledger, clock, store)
        self._adopted: list[Orphan] = []
        self._one_at_a_time = asyncio.Lock()
        self.count = 0
        """How many were ended here."""
        self.done: list[tuple[Path, str, dict[str, int]]] = []
        """Which were ended here, and what became of their calls: in a sentence, and counted."""

    async def run_once(self) -> bool:
        """Look for orphans and bring them to their end; whether all are there."""
        async with self._one_at_a_time:
            for claim in self._journals.orphans():
                self._adopted.append(await self.adopt(claim))
            for orphan in tuple(self._adopted):
                if await self.end(orphan):
                    self._adopted.remove(orphan)
                    self._note(orphan)
            return not self._adopted

    @property
    def waiting(self) -> int:
        """How many are this process's to end, and wait for what is on its way."""
        return len(self._adopted)

    def _note(self, orphan: Orphan) -> None:
        self.count += 1
        self.done = [*self.done[1 - NOTED :], (orphan.claim.path, orphan.sentence(), orphan.counts())]
        surprise = orphan.left.to_release() or orphan.unknown or orphan.told
        level = logging.WARNING if surprise else logging.INFO
        log.log(level, "A process is gone, and its journal was taken over: %s.", orphan.sentence())

    def leave(self) -> None:
        """Let others have what is not done."""
        for orphan in self._adopted:
            orphan.claim.leave()
        self._adopted.clear()

    async def adopt(self, claim: Claim, *, copied: bool = False) -> Orphan:
        """Read a journal. Of one that somebody has copied here everything, and it stays."""
        try:
            left = await self._ledger.run(lambda: Left(read_placed(claim.path)))
        except BaseException:
            claim.leave()
            raise
        unknown = left.cut_off(self._clock())
        events = left.done(since_posted=not copied) + unknown
        return Orphan(claim, left, list(map(as_settle, events)), len(unknown), copied)

    async def end(self, orphan: Orphan) -> bool:
        """Do what an orphan is left to do; False where the ledger first has to get what is on its way."""
        await self._release(orphan.left.to_release())
        if orphan.ends and not await self._is_settled(orphan):
            return False
        orphan.told |= await self._reviving.settle_again(orphan.ends)
        await self._stand(orphan)
        unreadable = orphan.left.unreadable
        if unreadable:
            await self._ledger.write(partial(set_aside, records=unreadable, now_us=self._clock()))
            self._ledger.keep_apart(len(unreadable))
        if orphan.keep:
            orphan.claim.leave()
        else:
            orphan.claim.remove()
        return True

    async def _stand(self, orphan: Orphan) -> None:
        """Holds of fronts stand whoever dies."""
        now_us = self._clock()
        if orphan.claim.was_in(self._store.epoch):
            # What a store lacks that has lost nothing has ended; it may have forgotten a release elsewhere.
            await self._reviving.speak_for(orphan.left.standing(now_us))
        else:
            await self._reviving.stand_again(orphan.left.standing(now_us - LATE_US))

    async def _release(self, ops: Sequence[str]) -> None:
        for start in range(0, len(ops), PORTION):
            await answered(self._store.release(ops[start : start + PORTION], self._clock()))

    async def _is_settled(self, orphan: Orphan) -> bool:
        """Whether all that the store has heard of the dead process's calls is in the ledger.

        Until then a call that the ledger lacks could be one that only waits in the outbox, and of which the
        store itself remembers nothing any more.
        """
        if orphan.epoch != self._store.epoch:
            orphan.epoch, orphan.mark = self._store.epoch, await self._store.mark()
        return not orphan.mark or await self._store.posted(orphan.mark)
