"""A store that processes share, and this process's own journal in front of it.

Three records a call, each shared by all calls that travel together: the holds before they leave, which of
them were granted before the app is called, and the usage events before they are told. So whatever becomes of
this process or of the store, it can be read who was served and what it cost. `store.left` reads it.

A record is needed while its call has not ended, while the store has not answered its end, and until the
ledger has its event. What is needed long is written again further on, so that the segments behind it can go.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path

from metergate.core.hold import LATE_US, stands_until_us
from metergate.errors import StoreUnavailable
from metergate.ports import CONFLICT, GRANTED, UNKNOWN, Answers, Held, Hold, Settle, SharedStore, T
from metergate.store import journal as records
from metergate.store.journal import SEGMENT_BYTES, Fsync, Journal, segment_of
from metergate.store.journals import Claim, Journals
from metergate.store.left import GOES_ON, HELD, REFUSED
from metergate.store.outbox import EVENTS_AT_ONCE
from metergate.wire import decode_holds, encode_terms, join_events, join_holds

SEGMENTS_MAX = 64
"""A journal that has grown to so many takes no more calls until the ledger has some of it."""
NO_ROOM = "The journal cannot be written ({why}); make room in {folder}."


class Journalled:
    def __init__(
        self,
        store: SharedStore,
        journals: Journals,
        fsync: Fsync = "everysec",
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._store = self.bare = store
        self._journals = journals
        self._fsync: Fsync = fsync
        self._segment_bytes = segment_bytes
        self._claim: Claim | None = None
        self._journal: Journal | None = None
        """Begun with the first call: commands that make none leave no folder."""
        self._open: dict[str, int] = {}
        """Where the terms of a call that has not ended lie; the complement of that once it was dispatched."""
        self._ending: dict[str, int] = {}
        """Where ends lie that the store has not answered, by the first call of each batch."""
        self._releasing: dict[str, int] = {}
        self._astray: dict[str, int] = {}
        """Where ends lie that the store did not know."""
        self._posted = 0
        self._last_end = 0
        self._unwritten = 0
        """How many records of ends the journal has not taken since it last had room."""
        self.connect, self.standing, self.enter = store.connect, store.standing, store.enter
        self.begin, self.left_over, self.discard = store.begin, store.left_over, store.discard
        self.fill, self.reopen = store.fill, store.reopen
        self.renew, self.expire, self.lapse = store.renew, store.expire, store.lapse
        self.drain, self.acknowledge, self.unposted = store.drain, store.acknowledge, store.unposted
        self.mark, self.posted = store.mark, store.posted
        self.sync, self.state, self.health = store.sync, store.state, store.health

    @property
    def epoch(self) -> str:
        return self._store.epoch

    @property
    def sequence(self) -> tuple[int, ...]:
        return self._store.sequence

    async def close(self) -> None:
        await self._store.close()
        if self.needed_from() == self._position and self._claim is not None:
            self._claim.remove()
            self._claim = None
        self.abandon()

    def abandon(self) -> None:
        """Let go of the journal: what is still needed of it is an orphan from now on."""
        if self._claim is not None:
            self._claim.leave()
            self._claim = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    # -- calls ---------------------------------------------------------------------------------------------

    def hold(self, batch: Sequence[Hold], now_us: int) -> Awaitable[Sequence[Held]]:
        if not batch or not self._store.epoch:
            return _later(self._store.hold(batch, now_us))
        position = self._intend(batch)
        try:
            answers = self._store.hold(batch, now_us)
        except StoreUnavailable:
            for hold in batch:
                self._open.pop(hold.op, None)
            raise
        asked = _future(answers)
        asked.add_done_callback(partial(self._held, batch, position))  # before whoever waits hears of it
        return asked

    def _intend(self, batch: Sequence[Hold]) -> int:
        if self._unwritten:
            raise StoreUnavailable(self._no_room("it had no room for what has ended"))
        ops, joined = _joined(batch)
        try:
            # Whatever follows has room: what was granted can be written whatever becomes of the disk.
            journal = self._journal or self._begun()
            journal.prepare()
            position = journal.append(records.INTENDED, joined)
        except OSError as error:
            raise StoreUnavailable(self._no_room(error.strerror)) from error
        self._open.update(dict.fromkeys(ops, position))
        return position

    def _held(self, batch: Sequence[Hold], position: int, asked: "asyncio.Future[Sequence[Held]]") -> None:
        first, opened = batch[0].op, self._open
        if asked.cancelled():  # nobody waits any more, and the gate gives back what may have been granted
            for hold in batch:
                opened.pop(hold.op, None)
        if asked.cancelled() or asked.exception() is not None or self._journal is None:
            return
        became = bytes(map(_became, batch, asked.result()))
        if became.count(GOES_ON) == len(batch):
            self._try_write(records.GRANTED, first.encode())
            opened.update(dict.fromkeys([hold.op for hold in batch], ~position))
        elif became.count(HELD) < len(batch):
            self._try_write(records.GRANTED, b"%b\n%b" % (first.encode(), became))
            for hold, how in zip(batch, became, strict=True):
                if how == REFUSED:
                    opened.pop(hold.op, None)
                elif how == GOES_ON:
                    opened[hold.op] = ~position

    def take_up(self, holds: Sequence[Hold]) -> None:
        """Speak for calls that hold already, whoever began them."""
        running = [hold for hold in holds if hold.dispatched]
        waiting = [hold for hold in holds if not hold.dispatched]
        if running:
            ops, joined = _joined(running)
            self._open.update(dict.fromkeys(ops, ~self._write(records.DISPATCHED, joined)))
        if waiting:
            ops, joined = _joined(waiting)
            self._open.update(dict.fromkeys(ops, self._write(records.INTENDED, joined)))

    def brought(self) -> None:
        """The store has heard of all holds that are written here, in the epoch that it is in."""
        if self._claim is not None:
            self._claim.entered(self._store.epoch)

    def dispatch(self, op: str) -> None:
        position = self._open.get(op, -1)
        if position >= 0:
            self._write(records.SENT, op.encode())
            self._open[op] = ~position
        self._store.dispatch(op)

    def settle(self, batch: Sequence[Settle], now_us: int) -> Awaitable[Sequence[str]]:
        if not batch:
            return _later(self._store.settle(batch, now_us))
        first = batch[0].op
        if first not in self._ending:  # else it is told again
            self._ending[first] = self._write_ends(batch)
        asked = _future(self._store.settle(batch, now_us))
        asked.add_done_callback(partial(self._settled, batch, first))
        return asked

    def _write_ends(self, batch: Sequence[Settle]) -> int:
        position = self._position
        try:
            events = [settle.event for settle in batch]
            places = [
                self._write(records.SETTLED, join_events(events[start : start + EVENTS_AT_ONCE]))
                for start in range(0, len(events), EVENTS_AT_ONCE)
            ]
        except StoreUnavailable:
            # Usage that happened is never refused: its terms stay where they are until the store has it.
            self._unwritten += 1
            return position
        self._last_end = self._position
        opened = self._open
        for settle in batch:
            opened.pop(settle.op, None)
        return places[0]

    def _settled(self, batch: Sequence[Settle], first: str, asked: "asyncio.Future[Sequence[str]]") -> None:
        if asked.cancelled() or asked.exception() is not None:
            return
        answers = asked.result()
        position = self._ending.pop(first, self._position)
        if self._unwritten or self._astray or UNKNOWN in answers:
            for settle, answer in zip(batch, answers, strict=True):
                self._open.pop(settle.op, None)
                self._astray.pop(settle.op, None)
                if answer == UNKNOWN:
                    self._astray[settle.op] = position

    async def release(self, ops: Sequence[str], now_us: int) -> Sequence[str]:
        new = [op for op in ops if op not in self._releasing]
        if new:
            self._releasing.update(dict.fromkeys(new, self._try_write(records.RELEASED, "\n".join(new))))
        answers = await _later(self._store.release(ops, now_us))
        for op in ops:
            self._releasing.pop(op, None)
            self._open.pop(op, None)
        return answers

    # -- what is kept --------------------------------------------------------------------------------------

    @property
    def has_unposted(self) -> bool:
        """Whether the ledger may lack an event that lies here."""
        return self._last_end > self._posted

    @property
    def astray(self) -> Sequence[str]:
        """Calls whose end the store did not know, and that are settled again unless the ledger has them."""
        return list(self._astray)

    def found(self, ops: Sequence[str]) -> None:
        """The ledger has these."""
        for op in ops:
            self._astray.pop(op, None)

    def told_until(self) -> int:
        """The position before which the store has heard of every end."""
        return min([*self._ending.values(), *self._astray.values(), self._position])

    def now_posted(self, position: int) -> None:
        """The ledger has every event that lies before."""
        if position > self._posted and self._journal is not None:
            self._posted = position
            self._try_write(records.POSTED, position.to_bytes(8, "little"))

    def needed_from(self) -> int:
        terms = [position if position >= 0 else ~position for position in self._open.values()]
        unposted = [self._posted] if self.has_unposted else []
        ends = [*self._ending.values(), *self._releasing.values(), *self._astray.values()]
        return min([*terms, *unposted, *ends, self._position])

    def trim(self, now_us: int) -> None:
        """Carry the terms of long calls into the current segment, and drop the segments nobody needs."""
        journal = self._journal
        if journal is None:
            return
        # What may be settled no more is waited for no longer, or it would hold the journal for ever.
        self.found([op for op in self._astray if 0 < stands_until_us(op) <= now_us - LATE_US])
        self._carry(journal, now_us)
        journal.keep_from(self.needed_from())

    def _carry(self, journal: Journal, now_us: int) -> None:
        for op, position in list(self._open.items()):
            place = position if position >= 0 else ~position
            if segment_of(place) >= journal.segment - 1:
                continue
            if 0 < stands_until_us(op) <= now_us:
                del self._open[op]  # it was ended elsewhere, or is about to be
                continue
            kind = records.INTENDED if position >= 0 else records.DISPATCHED
            try:
                moved = self._write(kind, _alone(op, journal.at(place).payload))
            except StoreUnavailable:
                return
            self._open[op] = moved if position >= 0 else ~moved

    @property
    def path(self) -> Path | None:
        """Where the journal lies, once there is one."""
        return self._claim.path if self._claim is not None else None

    @property
    def on_the_way(self) -> frozenset[int]:
        """Where ends lie that the store has not answered."""
        return frozenset(self._ending.values())

    def prepare(self) -> None:
        """Make sure that the next segment has room on the disk; OSError when it has not."""
        if self._journal is not None:
            self._journal.prepare()
            self._unwritten = 0

    def sync_to_disk(self) -> None:
        if self._journal is not None:
            self._journal.sync()

    # -- inside --------------------------------------------------------------------------------------------

    @property
    def _position(self) -> int:
        return self._journal.position if self._journal is not None else 0

    def _begun(self) -> Journal:
        claim = self._journals.begin()
        try:
            self._journal = Journal(
                claim.path,
                segment_bytes=self._segment_bytes,
                fsync=self._fsync,
                segments_max=SEGMENTS_MAX,
            )
        except OSError:
            claim.remove()
            raise
        self._claim = claim
        self.brought()
        self._posted = self._last_end = self._journal.position
        return self._journal

    def _write(self, kind: int, payload: bytes) -> int:
        try:
            return (self._journal or self._begun()).append(kind, payload)
        except OSError as error:
            raise StoreUnavailable(self._no_room(error.strerror)) from error

    def _no_room(self, why: str | None) -> str:
        return NO_ROOM.format(why=why, folder=self._journals.folder)

    def _try_write(self, kind: int, payload: bytes | str) -> int:
        position = self._position
        try:
            return self._write(kind, payload.encode() if isinstance(payload, str) else payload)
        except StoreUnavailable:
            return position


def _became(hold: Hold, held: Held) -> int:
    if held.status == GRANTED:
        return GOES_ON if hold.dispatched else HELD
    return HELD if held.status == CONFLICT else REFUSED  # the id is known: what it holds stays held


def _joined(batch: Sequence[Hold]) -> tuple[tuple[str, ...], bytes]:
    ops, _, _, _, _, terms, request_ids, twins, _ = zip(*batch, strict=True)
    fields = [twin.fields if twin else None for twin in twins] if any(twins) else twins
    return ops, join_holds(ops, request_ids, terms, fields)


def _alone(op: str, joined: bytes) -> bytes:
    """One call out of a record of several."""
    _, request_id, terms, twin = next(each for each in decode_holds(joined) if each[0] == op)
    return join_holds([op], [request_id], [encode_terms(terms)], [twin])


def _future(answers: Answers[T]) -> "asyncio.Future[Sequence[T]]":
    return answers if isinstance(answers, asyncio.Future) else asyncio.ensure_future(_later(answers))


def _later(answers: Answers[T]) -> Awaitable[Sequence[T]]:
    return _at_once(answers) if isinstance(answers, Sequence) else answers


async def _at_once(answers: Sequence[T]) -> Sequence[T]:
    return answers


def _fits(store: Journalled) -> SharedStore:
    return store
