"""From the outbox into the ledger: read, one SQL transaction, acknowledge; nothing goes before the commit."""

import asyncio
import base64
from collections.abc import Sequence

from metergate.core.hold import UsageEvent
from metergate.core.lots import Lots
from metergate.ledger import accounts, audit, posting
from metergate.ledger.apart import UNPOSTABLE, post_apart
from metergate.ledger.database import Tx
from metergate.ledger.posting import Posted
from metergate.ledger.thread import LedgerThread
from metergate.ports import Answers, Clock, CounterStore, Entry, PutAccount, T
from metergate.wire import Unreadable, count_events, decode_events, gather

EVENTS = 32_768
"""About as many are posted in one transaction: what it costs beside its rows is shared by all of them."""
FEWEST, MOST = 256, 4096
"""Entries of the outbox in one transaction; how many events one holds is known once it is there."""


async def answered(answers: Answers[T]) -> Sequence[T]:
    """The answers of a store, whether it had them at once or not."""
    return answers if isinstance(answers, Sequence) else await answers


class Flusher:
    def __init__(self, store: CounterStore, ledger: LedgerThread, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self.more = False
        """Whether more may be waiting than the last batch could take."""
        self._limit = FEWEST
        self._moving = asyncio.Lock()

    async def run_once(self) -> int:
        """Move the oldest entries; how many they were."""
        async with self._moving:
            return await self._move()

    async def _move(self) -> int:
        entries = await answered(self._store.drain(self._limit))
        self.more = len(entries) == self._limit
        if not entries:
            return 0
        try:
            posted = await self._ledger.write(lambda tx: self._post(tx, entries))
        except UNPOSTABLE:
            posted = await self._ledger.write(lambda tx: self._post_apart(tx, entries))
        await answered(self._store.acknowledge([entry.id for entry in entries]))
        events = sum([count_events(entry.events) for entry in entries])
        self._limit = min(max(EVENTS * len(entries) // max(events, 1), FEWEST), MOST)
        if posted.upgrades:
            names = sorted({upgrade.account for upgrade in posted.upgrades})
            changes = await self._ledger.read(
                lambda tx: [PutAccount(accounts.known(tx, n).facts) for n in names]
            )
            await answered(self._store.sync(changes, self._clock()))
        return len(entries)

    async def run_dry(self) -> int:
        """Move everything that is there."""
        moved = 0
        while now := await self.run_once():
            moved += now
        return moved

    def _post(self, tx: Tx, entries: Sequence[Entry]) -> Posted:
        lots = Lots()
        for entry in entries:
            try:
                gather(entry.events, lots)
            except Unreadable:
                self._set_aside(tx, entry)
        return posting.post_lots(tx, lots)

    def _post_apart(self, tx: Tx, entries: Sequence[Entry]) -> Posted:
        events: list[UsageEvent] = []
        for entry in entries:
            try:
                events += decode_events(entry.events)
            except Unreadable:
                self._set_aside(tx, entry)
        return post_apart(tx, events, self._clock())

    def _set_aside(self, tx: Tx, entry: Entry) -> None:
        """An event that nobody can read must not block the others, nor be lost."""
        details = {"entry": entry.id, "events": base64.b64encode(entry.events).decode()}
        audit.note(tx, self._clock(), "worker", "usage.unreadable", entry.id, details)
