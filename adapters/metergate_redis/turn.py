"""What the calls of one turn of the event loop want of a shard: one script call carries it all."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol
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
from metergate_redis.scripts import SCRIPTS
from metergate_redis.template import Templates, encode, integer, one_line, pack

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

    def landed(self) -> None: ...

    def settle_singly(self, settling: "Settling", place: int, settle: Settle) -> None: ...


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
        self._runs: list[list[Any]] = []
        """Holds that follow each other and are alike: template, when they expire, how many."""
        self._hold_ops: list[str] = []
        self._hold_extras: list[tuple[int, int, str | int, int]] = []
        self._settle_ops: list[str] = []
        self._digests: list[str] = []
        self._settle_extras: list[tuple[int, list[str | int] | int, int]] = []
        self._events: list[int | bytes] = []
        self._extra: list[bytes] = []
        """Twins and answers, named by their place."""
        self.epoch = ""
        self.again = False
        """Whether it was sent a second time, because the server did not know the script."""
        self.due = False
        """Whether it goes as soon as one that is on its way has landed, or a moment has passed."""
        self._releases: list[str] = []
        self.dispatches: list[str] = []
        self._settling: list[tuple[Settling, int, Sequence[Settle]]] = []
        self._releasing: list[tuple[asyncio.Future[Sequence[str]], int]] = []
        self._holding: list[tuple[asyncio.Future[Sequence[Held]], Sequence[Hold]]] = []
        self.size = 0
        self.now_us = 0

    # -- collecting ----------------------------------------------------------------------------------------

    def hold(self, batch: Sequence[Hold], now_us: int) -> "asyncio.Future[Sequence[Held]]":
        ops = self._hold_ops
        last: list[Any] | None = None
        for op, account, generation, draws, expires_at_us, terms, request_id, twin, dispatched in batch:
            template = self._known.of(account, generation, draws, terms)
            if last is not None and last[0] is template and last[1] == expires_at_us:
                last[2] += 1
            else:
                last = [template, expires_at_us, 1]
                self._runs.append(last)
            ops.append(op)
            if request_id is not op or twin is not None or not dispatched:
                self._special(op, request_id, twin, dispatched=dispatched)
        self.now_us = now_us
        self.size += len(batch)
        future: asyncio.Future[Sequence[Held]] = self._loop.create_future()
        self._holding.append((future, batch))
        return future

    def _special(self, op: str, request_id: str, twin: Twin | None, *, dispatched: bool) -> None:
        request = 0 if op == request_id else one_line(request_id)
        which = 0 if twin is None else self._place(_twin(twin))
        if request or which or not dispatched:
            self._hold_extras.append((len(self._hold_ops), int(dispatched), request, which))

    def _place(self, extra: bytes) -> int:
        self._extra.append(extra)
        return len(self._extra)

    def settle(self, batch: Sequence[Settle], now_us: int) -> "asyncio.Future[Sequence[str]]":
        future: asyncio.Future[Sequence[str]] = self._loop.create_future()
        settling = Settling(future, len(batch))
        for start in range(0, len(batch), EVENTS_AT_ONCE):
            self.group(settling, start, batch[start : start + EVENTS_AT_ONCE])
        self.now_us = now_us
        return future

    def group(self, settling: Settling, start: int, settles: Sequence[Settle]) -> None:
        """Settles that are taken together, or not at all."""
        for op, amounts, event, answer in settles:
            self._settle_ops.append(op)
            self._digests.append(_digest(event))
            if amounts is not None or answer is not None:
                actual = 0 if amounts is None else [integer(amount) for amount in amounts]
                which = 0 if answer is None else self._place(answer)
                self._settle_extras.append((len(self._settle_ops), actual, which))
        self._events += (len(settles), join_events([each[2] for each in settles]))
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

    def request(self, tag: str, seen: int, backlog: int) -> bytes:
        runs, count = self._packed_runs()
        head = (f"o{self.epoch}", seen, backlog, self.now_us)
        settles, releases, dispatches = len(self._settle_ops), len(self._releases), len(self.dispatches)
        counts = (len(self._settling), settles, releases, dispatches, len(self._runs), len(self._hold_ops))
        specials = [encode(each) if each else 0 for each in (self._settle_extras, self._hold_extras)]
        ops = (*self._settle_ops, *self._releases, *self.dispatches, *self._hold_ops)
        parts = (
            "EVALSHA",
            SCRIPT.sha,
            1,
            tag,
            *head,
            *counts,
            *specials,
            *ops,
            *self._digests,
            *self._events,
        )
        count += len(parts) + len(self._extra)
        return b"*%d\r\n%b%b%b" % (count, pack(parts), runs, pack(self._extra) if self._extra else b"")

    def _packed_runs(self) -> tuple[bytes, int]:
        """The runs of holds as they are sent, and of how many arguments they consist."""
        packed: list[bytes] = []
        heads: dict[tuple[int, int], bytes] = {}
        count = 0
        for template, expires_at_us, holds in self._runs:
            head = heads.get((holds, expires_at_us))
            if head is None:
                head = heads[holds, expires_at_us] = pack((holds, expires_at_us))
            packed += (head, template.packed)
            count += 2 + template.parts
        return b"".join(packed), count

    # -- the reply -----------------------------------------------------------------------------------------

    def answered(self, reply: object) -> None:
        lines = self._shard.spent(self, reply)
        told = lines.rstrip(b"\n").split(b"\n") if lines is not None else []
        if told and len(told) != 1 + len(self._settling) + len(self._releases) + len(self._hold_ops):
            raise ValueError("a line for everything that was asked")
        self._shard.landed()
        if not told:
            return
        answers = iter(reply[1:]) if isinstance(reply, list) else iter(())
        place = 1
        for settling, start, settles in self._settling:
            self._settled(settling, start, settles, told[place])
            place += 1
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
        told = [_verdict(line, answer) for line in lines]
        if not future.done():
            future.set_result(told)

    def failed(self, why: str) -> None:
        self.fail(StoreUnavailable(f"The counter store cannot be used: {why}."))
        self._shard.landed()

    def only_ends(self, error: StoreUnavailable) -> bool:
        """Refuse the holds, so that the ends alone can go again; whether there was something of both."""
        if not (self._hold_ops and (self._settle_ops or self._releases or self.dispatches)):
            return False
        self._refuse(error)
        self._holding, self._hold_ops, self._runs = [], [], []
        return True

    def fail(self, error: StoreUnavailable) -> None:
        for settling, _, _ in self._settling:
            settling.failed(error)
        for releasing, _ in self._releasing:
            if not releasing.done():
                releasing.set_exception(error)
        self._refuse(error)

    def _refuse(self, error: StoreUnavailable) -> None:
        for holding, _ in self._holding:
            if not holding.done():
                holding.set_exception(error)


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
