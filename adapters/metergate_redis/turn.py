"""What the calls of one turn of the event loop want of a shard: one script call carries it all."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from zlib import crc32

from metergate.core.hold import Event
from metergate.core.idempotency import Twin
from metergate.errors import StoreUnavailable
from metergate.ports import (
    CONFLICT,
    DENIED,
    DONE,
    ENDED,
    FULL,
    GRANTED,
    STALE,
    TWIN_DONE,
    TWIN_OTHER,
    TWIN_RUNNING,
    UNKNOWN,
    Held,
    Hold,
    Settle,
)
from metergate.wire import join_events
from metergate_redis.connection import Parts
from metergate_redis.link import NO_MEMORY
from metergate_redis.scripts import SCRIPTS
from metergate_redis.template import Template, Templates, encode, integer, one_line

EVENTS_AT_ONCE = 64
"""An entry of the outbox holds at most this many events."""
OPS_AT_ONCE = 512
SCRIPT = SCRIPTS["turn"]
SINGLE = {ord("D"): DONE, ord("U"): UNKNOWN, ord("C"): CONFLICT}
_OTHERS = {
    ord("s"): Held(STALE),
    ord("c"): Held(CONFLICT),
    ord("e"): Held(ENDED),
    ord("f"): Held(FULL),
    ord("r"): Held(TWIN_RUNNING),
    ord("o"): Held(TWIN_OTHER),
    ord("n"): Held(TWIN_DONE),
}
new_tuple = tuple.__new__


class Shard(Protocol):
    """What a turn asks of the shard that it is about."""

    def spent(self, turn: "Turn", reply: object) -> bytes | None: ...

    def settle_singly(self, settling: "Settling", place: int, settle: Settle) -> None: ...

    def owe(self, ops: Sequence[str]) -> None: ...

    def pay(self) -> None: ...


class Settling:
    """A batch of settles, on its way in one group or several."""

    __slots__ = ("answers", "future", "open")

    def __init__(self, future: "asyncio.Future[Sequence[str]]", count: int) -> None:
        self.future = future
        self.answers = [DONE] * count
        self.open = 0

    def told(self) -> None:
        self.open -= 1
        if not self.open and not self.future.done():
            self.future.set_result(self.answers)

    def failed(self, error: StoreUnavailable) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Turn:
    """Collects until it is sent, then waits for the one reply."""

    def __init__(self, loop: asyncio.AbstractEventLoop, shard: Shard, templates: Templates) -> None:
        self._loop = loop
        self._shard = shard
        self._known = templates
        self._templates: dict[Template, int] = {}
        self._holds: list[str | int] = []
        """Op, template, now, expires, dispatched, request, twin, one after the other."""
        self._settles: list[str | int | list[str | int]] = []
        """Op, digest, amounts, answer, one after the other."""
        self._extra: list[bytes] = []
        """Twins and answers, named by their place."""
        self._events: list[bytes] = []
        self.epoch = ""
        self.owed: Sequence[str] = ()
        """Releases that nobody waits for."""
        self._releases: list[str] = []
        self.dispatches: list[str] = []
        self._settling: list[tuple[Settling, int, Sequence[Settle]]] = []
        self._releasing: list[tuple[asyncio.Future[Sequence[str]], int]] = []
        self._holding: list[tuple[asyncio.Future[Sequence[Held]], Sequence[Hold]]] = []
        self.size = 0
        self.now_us = 0

    # -- collecting ----------------------------------------------------------------------------------------

    def hold(self, batch: Sequence[Hold], now_us: int) -> "asyncio.Future[Sequence[Held]]":
        for hold in batch:
            self._add(hold, now_us)
        self.now_us = now_us
        self.size += len(batch)
        future: asyncio.Future[Sequence[Held]] = self._loop.create_future()
        self._holding.append((future, batch))
        return future

    def _add(self, hold: Hold, now_us: int) -> None:
        op, _, _, _, expires_at_us, _, request_id, twin, dispatched = hold
        template = self._known.of(hold)
        templates = self._templates
        place = templates.get(template)
        if place is None:
            place = templates[template] = len(templates) + 1
        which = self._place(_twin(twin)) if twin is not None else 0
        request = 0 if op is request_id or op == request_id else one_line(request_id)
        self._holds += (op, place, now_us, str(expires_at_us), 1 if dispatched else 0, request, which)

    def _place(self, extra: bytes) -> int:
        self._extra.append(extra)
        return len(self._extra)

    def settle(self, batch: Sequence[Settle], now_us: int) -> "asyncio.Future[Sequence[str]]":
        future: asyncio.Future[Sequence[str]] = self._loop.create_future()
        settling = Settling(future, len(batch))
        for start in range(0, len(batch), EVENTS_AT_ONCE):
            self.group(settling, start, batch[start : start + EVENTS_AT_ONCE])
        self.now_us = now_us
        if not batch:
            future.set_result([])
        return future

    def group(self, settling: Settling, start: int, settles: Sequence[Settle]) -> None:
        """Settles that are taken together, or not at all."""
        for op, amounts, event, answer in settles:
            place = self._place(answer) if answer is not None else 0
            actual = 0 if amounts is None else [integer(amount) for amount in amounts]
            self._settles += (op, _digest(event), actual, place)
        self._events.append(join_events([each[2] for each in settles]))
        self._settling.append((settling, start, settles))
        settling.open += 1
        self.size += len(settles)

    def release(self, ops: Sequence[str], now_us: int) -> "asyncio.Future[Sequence[str]]":
        future: asyncio.Future[Sequence[str]] = self._loop.create_future()
        self._releases += ops
        self.now_us = now_us
        self._releasing.append((future, len(ops)))
        self.size += len(ops)
        return future

    def names(self, op: str) -> bool:
        """Whether a hold of that id waits in this turn."""
        return any(hold.op == op for _, batch in self._holding for hold in batch)

    # -- sending -------------------------------------------------------------------------------------------

    def request(self, tag: str, seen: int, backlog: int) -> Parts:
        asked = (
            f"o{self.epoch}",
            seen,
            backlog,
            self.now_us,
            [*self.owed, *self._releases],
            self.dispatches,
            self._settles,
            [len(settles) for _, _, settles in self._settling],
            self._holds,
            len(self._templates),
        )
        parts: list[bytes] = []
        for template in self._templates:
            parts += (template.text, template.terms)
        return (b"EVALSHA", SCRIPT.sha, 1, tag, encode(asked), *parts, *self._events, *self._extra)

    # -- the reply -----------------------------------------------------------------------------------------

    def answered(self, reply: object) -> None:
        lines = self._shard.spent(self, reply)
        if lines is None:
            return
        told = lines.split(b"\n")
        answers = iter(reply[1:]) if isinstance(reply, list) else iter(())
        place = 1
        for settling, start, settles in self._settling:
            self._settled(settling, start, settles, told[place])
            place += 1
        place += len(self.owed)
        for releasing, count in self._releasing:
            if not releasing.done():
                releasing.set_result([SINGLE[line[0]] for line in told[place : place + count]])
            place += count
        for future, batch in self._holding:
            end = place + len(batch)
            self._held(future, batch, told[place:end], lambda: next(answers))
            place = end

    def _settled(self, settling: Settling, start: int, settles: Sequence[Settle], line: bytes) -> None:
        if line == b"?":
            for place, settle in enumerate(settles, start):
                self._shard.settle_singly(settling, place, settle)
        elif line != b"D":
            settling.answers[start] = SINGLE[line[0]]
        settling.told()

    def _held(
        self,
        future: "asyncio.Future[Sequence[Held]]",
        batch: Sequence[Hold],
        lines: Sequence[bytes],
        answer: Callable[[], bytes],
    ) -> None:
        if b"m" in lines and not future.done():
            future.set_exception(StoreUnavailable(NO_MEMORY))
        told = [_verdict(line, answer) for line in lines]
        if not future.done():
            future.set_result(told)
        else:
            # Nobody waits any more, so nobody will ever end what was granted.
            self._shard.owe([hold.op for hold, held in zip(batch, told, strict=True) if held[0] == GRANTED])
            self._shard.pay()

    def failed(self, why: str) -> None:
        self.fail(StoreUnavailable(f"The counter store cannot be used: {why}."), maybe=True)

    def fail(self, error: StoreUnavailable, *, maybe: bool) -> None:
        """Tell everybody; `maybe` the turn was taken all the same, and what it held is held for nobody."""
        for settling, _, _ in self._settling:
            settling.failed(error)
        for releasing, _ in self._releasing:
            if not releasing.done():
                releasing.set_exception(error)
        for holding, batch in self._holding:
            if not holding.done():
                holding.set_exception(error)
            if maybe:
                self._shard.owe([hold.op for hold in batch])
        self._shard.owe(self.owed)


def _digest(event: Event) -> str:
    """What tells apart two events of one call."""
    _, _, at_us, path, outcome, twin, answer = event
    digest = crc32(path.encode(), crc32(outcome, at_us & 0xFFFFFFFF))
    if twin is not None or answer is not None:
        digest = crc32(repr((twin, answer)).encode(), digest)
    return str(digest)


def _twin(twin: Twin) -> bytes:
    return encode((twin.id, twin.fingerprint, twin.until_us))


def _verdict(line: bytes, answer: Callable[[], bytes]) -> Held:
    kind = line[0]
    if kind == 103:  # g
        values = tuple(map(int, line[1:].split(b","))) if len(line) > 1 else ()
        return new_tuple(Held, (GRANTED, values, 0, 0, None))
    if kind == 100:  # d
        position, value = line[1:].split()
        return Held(DENIED, position=int(position), value=int(value))
    if kind == 97:  # a
        return Held(TWIN_DONE, answer=answer())
    return _OTHERS.get(kind, _OTHERS[ord("s")])
