"""The ends of calls, gathered for a moment and told to the store together.

Nobody waits for the end of a call. What ends in one turn of the event loop becomes one batch: one write, one
entry of the outbox, and for a store behind a network one round trip. A process that is killed in between
has the call's dispatch in the journal, and the call ends by the policy's `on_unknown_outcome`.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from metergate.core.idempotency import Twin
from metergate.errors import StoreUnavailable
from metergate.ports import UNKNOWN, Clock, CounterStore, Settle

T = TypeVar("T")

AGAIN_S = 0.2
AT_ONCE = 64
"""More ends than this are not gathered: what they keep alive pushes the app's objects out of the caches."""
new_tuple = tuple.__new__
"""`new_tuple(T, (…))` makes a NamedTuple at a third of the price of `T(…)`."""


class Ended(Protocol):
    """A call that has ended."""

    op: str
    request_id: str
    at_us: int
    """When it happened, where that is not now."""
    path: str
    twin: Twin | None
    answer: bytes | None


class Endings:
    def __init__(
        self,
        store: CounterStore,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        live: MutableMapping[str, Any],
    ) -> None:
        self._live = live
        self._store = store
        self._clock = clock
        self._loop = loop
        self._ends: list[tuple[Ended, tuple[int, ...] | None, bytes]] = []
        self._now_us = 0
        """When the first of the gathered ends came: one look at the clock serves a turn of the event loop."""
        self._releases: list[str] = []
        self._lost: list[Settle] = []
        self._following: set[asyncio.Future[Any]] = set()

    def settle(self, call: Ended, amounts: tuple[int, ...] | None, outcome: bytes) -> None:
        """Note the end of a call; None for the amounts is what was held."""
        ends = self._ends
        if not ends:
            self._now_us = self._clock()
            self._loop.call_soon(self._send_ends)
        ends.append((call, amounts, outcome))
        if len(ends) >= AT_ONCE:
            self._send_ends()

    def release(self, op: str) -> None:
        if not self._releases:
            self._loop.call_soon(self._send_releases)
        self._releases.append(op)

    def lost(self) -> list[Settle]:
        """Ends of calls that the store did not know, each told once."""
        lost, self._lost = self._lost, []
        return lost

    def send(self) -> None:
        """Tell the store now of all that has ended."""
        self._send_ends()
        self._send_releases()

    async def done(self) -> None:
        """Tell what is gathered, and wait until the store has answered everything."""
        self.send()
        while self._following:
            await asyncio.wait(set(self._following))
            self.send()

    def _send_ends(self) -> None:
        ends, self._ends = self._ends, []
        if ends:
            now_us = self._now_us
            for call, _, _ in ends:
                self._live.pop(call.op, None)
            self._deliver([_settle(call, amounts, outcome, now_us) for call, amounts, outcome in ends])

    def _deliver(self, batch: Sequence[Settle]) -> None:
        try:
            answers = self._store.settle(batch, self._clock())
        except StoreUnavailable:
            self._loop.call_later(AGAIN_S, self._deliver, batch)
            return
        if not isinstance(answers, Sequence):
            self.follow(answers, partial(self._delivered, batch))

    def _delivered(self, batch: Sequence[Settle], answered: asyncio.Future[Sequence[str]]) -> None:
        """An end that could not be told is told again; the id makes it safe."""
        try:
            told = answered.result()
        except StoreUnavailable:
            self.follow(asyncio.sleep(AGAIN_S), lambda _: self._deliver(batch))
            return
        if UNKNOWN in told:
            self._lost += [each for each, answer in zip(batch, told, strict=True) if answer == UNKNOWN]

    def _send_releases(self) -> None:
        releases, self._releases = self._releases, []
        if releases:
            self._give_back(releases)

    def _give_back(self, releases: Sequence[str]) -> None:
        try:
            answers = self._store.release(releases, self._clock())
        except StoreUnavailable:
            self._loop.call_later(AGAIN_S, self._give_back, releases)
            return
        if not isinstance(answers, Sequence):
            self.follow(answers, partial(self._given_back, releases))

    def _given_back(self, releases: Sequence[str], answered: asyncio.Future[Sequence[str]]) -> None:
        """A release that is not heard is told again: the reaper would charge a call that was dispatched."""
        try:
            answered.result()
        except StoreUnavailable:
            self._loop.call_later(AGAIN_S, self._give_back, releases)

    def follow(self, asked: Awaitable[T], then: Callable[[asyncio.Future[T]], None]) -> None:
        """Go on when it is answered. A store that answers with a future needs no task for that."""
        future = asyncio.ensure_future(asked)
        self._following.add(future)
        future.add_done_callback(partial(self._followed, then))

    def _followed(self, then: Callable[[asyncio.Future[T]], None], future: asyncio.Future[T]) -> None:
        self._following.discard(future)
        if not future.cancelled():
            then(future)


def _settle(call: Ended, amounts: tuple[int, ...] | None, outcome: bytes, now_us: int) -> Settle:
    op, twin, answer = call.op, call.twin, call.answer
    fields = twin.fields if twin else None
    event = (op, call.request_id, call.at_us or now_us, call.path, outcome, fields, answer)
    return new_tuple(Settle, (op, amounts, event, answer))
