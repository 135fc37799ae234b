"""Usage events on their way to the ledger: in memory for the flusher, in the journal in case of a kill."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from metergate.core.hold import Event
from metergate.ports import DONE, UNKNOWN, Entry
from metergate.store.journal import SETTLED, Journal
from metergate.wire import count_events, join_events

EVENTS_AT_ONCE = 64
"""An entry, and its record in the journal, should hold at most this many events."""


class Outbox:
    """Entries by the position of their journal record; what could not be journalled has a negative one."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._entries: dict[int, bytes] = {}
        self._order: deque[int] = deque()
        """The positions, oldest first; a dictionary finds its first slowly after many deletions."""
        self.waiting = 0
        """How many events wait."""
        self.unwritten = 0
        """How many entries the journal has not taken since it last had room."""
        self._unjournalled = 0

    def put(self, events: Sequence[Event]) -> bytes:
        """Write the events of one entry to the journal, keep them, and answer with what is kept."""
        joined = join_events(events)
        position = self._write(joined)
        self._entries[position] = joined
        self._order.append(position)
        self.waiting += len(events)
        return joined

    def _write(self, joined: bytes) -> int:
        if self._journal is not None:
            try:
                return self._journal.append(SETTLED, joined)
            except OSError:
                # Usage that happened is never refused: it waits in memory until the ledger has it.
                self.unwritten += 1
        self._unjournalled -= 1
        return self._unjournalled

    def drain(self, limit: int) -> list[Entry]:
        entries = self._entries
        oldest = islice(self._order, limit)
        return [Entry(str(position), entries[position]) for position in oldest if position in entries]

    def acknowledge(self, ids: Sequence[str]) -> list[str]:
        answers = [self._acknowledge(int(id)) for id in ids]
        while self._order and self._order[0] not in self._entries:
            self._order.popleft()
        return answers

    def _acknowledge(self, position: int) -> str:
        events = self._entries.pop(position, None)
        if events is None:
            return UNKNOWN
        self.waiting -= count_events(events)
        return DONE

    def first_journalled(self) -> list[int]:
        """The position of the oldest entry whose journal record is still needed, if there is one."""
        return list(islice((position for position in self._order if position >= 0), 1))
