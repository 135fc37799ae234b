"""From the outbox into the ledger: read, one SQL transaction, acknowledge; nothing goes before the commit."""

import asyncio
import base64
from collections.abc import Sequence

from metergate.core.batch import Batch
from metergate.core.hold import UsageEvent
from metergate.ledger import accounts, audit, posting
from metergate.ledger.apart import UNPOSTABLE, UNREADABLE, post_apart
from metergate.ledger.database import Tx
from metergate.ledger.epochs import OtherEpoch
from metergate.ledger.posting import Posted
from metergate.ledger.telling import Committed, Teller
from metergate.ledger.thread import LedgerThread
from metergate.ports import Change, Clock, CounterStore, Entry, PutAccount, SharedStore, answered
from metergate.wire import Unreadable, count_events, decode_events, gather

EVENTS = 32_768
"""About as many are posted in one transaction: what it costs beside its rows is shared by all of them."""
FEWEST, MOST = 256, 8192
"""Entries of the outbox in one transaction; how many events one holds is known once it is there."""


class Flusher:
    """Any number of them share the outbox of a shared store; the ledger knows the calls it has."""

    def __init__(
        self, store: CounterStore, ledger: LedgerThread, clock: Clock, shared: SharedStore | None = None
    ) -> None:
        self.teller = Teller(ledger, store, clock, shared)
        self.more = False
        """Whether more may be waiting than the last batch could take."""
        self.adrift: list[Entry] = []
        """What came from an epoch that ended before the ledger had it."""
        self.posted = 0
        """How many events went into the ledger from here."""
        self.caught_up_us = clock()
        """When everything that waited was last in the ledger."""
        self._store = store
        self._shared = shared
        self._clock = clock
        self._limit = FEWEST
        self._moving = asyncio.Lock()

    async def run_once(self) -> int:
        """Move the oldest entries; how many they were."""
        async with self._moving:
            return await self._move()

    async def _move(self) -> int:
        epoch = self._shared.epoch if self._shared else None
        began_us = self._clock()
        entries = await answered(self._store.drain(self._limit))
        self.more = len(entries) == self._limit
        if entries:
            await self._post(entries, epoch)
        if not self.more:
            self.caught_up_us = began_us
        return len(entries)

    async def _post(self, entries: Sequence[Entry], epoch: str | None) -> None:
        try:
            committed = await self._commit(entries, epoch)
        except OtherEpoch:
            assert self._shared is not None
            self._shared.enter("")
            self.adrift += entries
            raise
        await answered(self._store.acknowledge([entry.id for entry in entries]))
        events = sum([count_events(entry.events) for entry in entries])
        self.posted += committed.result.new
        self.teller.ledger.keep_apart(committed.result.apart)
        self._limit = min(max(EVENTS * len(entries) // max(events, 1), FEWEST), MOST)
        await self.teller.tell(committed)

    async def _commit(self, entries: Sequence[Entry], epoch: str | None) -> Committed[Posted]:
        try:
            return await self.teller.commit(lambda tx: post_entries(tx, entries, self._clock), epoch)
        except UNPOSTABLE:
            return await self.teller.commit(lambda tx: post_entries_apart(tx, entries, self._clock), epoch)

    async def run_dry(self) -> int:
        """Move everything that is there."""
        moved = await self.run_once()
        while self.more:
            moved += await self.run_once()
        return moved

    async def posted_until(self, now_us: int) -> int:
        """Move everything; before which instant nothing is on its way, in other processes neither."""
        await self.run_dry()
        oldest = await self._shared.unposted() if self._shared else None
        try:
            waiting = decode_events(oldest.events) if oldest else []
        except Unreadable:
            return 0  # until it has been set aside
        return min([now_us, *(event.at_us for event in waiting)])


def post_entries(tx: Tx, entries: Sequence[Entry], clock: Clock) -> tuple[Posted, list[Change]]:
    """What the entries hold, in the ledger; and what the store has to know because of it."""
    batch = Batch()
    apart = 0
    for entry in entries:
        try:
            gather(entry.events, batch)
        except Unreadable:
            apart += _set_aside(tx, entry, clock())
    posted = posting.post_batch(tx, batch)
    return posted._replace(apart=apart), _changed(tx, posted)


def post_entries_apart(tx: Tx, entries: Sequence[Entry], clock: Clock) -> tuple[Posted, list[Change]]:
    """The same where an event spoils its batch."""
    events: list[UsageEvent] = []
    apart = 0
    for entry in entries:
        try:
            events += decode_events(entry.events)
        except Unreadable:
            apart += _set_aside(tx, entry, clock())
    posted = post_apart(tx, events, clock())
    return posted._replace(apart=apart + posted.apart), _changed(tx, posted)


def _changed(tx: Tx, posted: Posted) -> list[Change]:
    upgraded = sorted({upgrade.account for upgrade in posted.upgrades})
    return [PutAccount(accounts.known(tx, name).facts) for name in upgraded]


def _set_aside(tx: Tx, entry: Entry, now_us: int) -> int:
    """An event that nobody can read must not block the others, nor be lost."""
    details = {"entry": entry.id, "events": base64.b64encode(entry.events).decode()}
    audit.note(tx, now_us, "worker", UNREADABLE, entry.id, details)
    return 1
