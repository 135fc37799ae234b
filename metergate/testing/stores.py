"""A store for tests that answers later."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from metergate.errors import StoreUnavailable
from metergate.ports import (
    Answers,
    Ask,
    Change,
    CounterStore,
    Entry,
    Expired,
    Held,
    Hold,
    Settle,
    StoreHealth,
    Told,
)

T = TypeVar("T")


class AwaitingStore:
    """The store inside, asked and answering a turn of the event loop later each, as over a network.

    Between the two, other tasks run: whoever decides from what it read before meets what they have done.
    While it is `away` nothing reaches the store inside, and every answer is that it cannot be reached. While
    it is `deaf` everything reaches it, and no answer comes back.
    """

    def __init__(self, inside: CounterStore) -> None:
        self.inside = inside
        self.away = False
        self.deaf = False

    def hold(self, batch: Sequence[Hold], now_us: int) -> Awaitable[Sequence[Held]]:
        return self._later(lambda: self.inside.hold(batch, now_us))

    def dispatch(self, op: str) -> None:
        self.inside.dispatch(op)

    def settle(self, batch: Sequence[Settle], now_us: int) -> Awaitable[Sequence[str]]:
        return self._later(lambda: self.inside.settle(batch, now_us))

    def release(self, ops: Sequence[str], now_us: int) -> Awaitable[Sequence[str]]:
        return self._later(lambda: self.inside.release(ops, now_us))

    def lapse(self, ops: Sequence[str], now_us: int) -> Awaitable[Sequence[str]]:
        return self._later(lambda: self.inside.lapse(ops, now_us))

    def renew(self, ops: Sequence[str], expires_at_us: int) -> Awaitable[Sequence[str]]:
        return self._later(lambda: self.inside.renew(ops, expires_at_us))

    def expire(self, now_us: int, limit: int) -> Awaitable[Sequence[Expired]]:
        return self._later(lambda: self.inside.expire(now_us, limit))

    def drain(self, limit: int) -> Awaitable[Sequence[Entry]]:
        return self._later(lambda: self.inside.drain(limit))

    def acknowledge(self, ids: Sequence[str]) -> Awaitable[Sequence[str]]:
        return self._later(lambda: self.inside.acknowledge(ids))

    def sync(self, changes: Sequence[Change], now_us: int) -> Awaitable[Sequence[str]]:
        return self._later(lambda: self.inside.sync(changes, now_us))

    def state(self, asks: Sequence[Ask]) -> Awaitable[Sequence[Told]]:
        return self._later(lambda: self.inside.state(asks))

    def health(self) -> StoreHealth:
        return self.inside.health()

    async def _later(self, ask: Callable[[], Answers[T]]) -> Sequence[T]:
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("The counter store cannot be reached; start it again.")
        answers = ask()
        await asyncio.sleep(0)
        told = await answers if isinstance(answers, Awaitable) else answers
        if self.deaf:
            raise StoreUnavailable("The counter store did not answer; look whether it is well.")
        return told


def _fits(store: AwaitingStore) -> CounterStore:
    return store
