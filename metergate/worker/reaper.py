"""Holds whose time is over: given back if nothing was dispatched, settled by the policy's rule if it was."""

from collections.abc import Awaitable, Callable

from metergate.core.hold import unknown_outcome
from metergate.ports import Clock, CounterStore, Expired, Settle, answered
from metergate.wire import decode_terms, encode_event

BATCH = 500


class Reaper:
    def __init__(
        self, store: CounterStore, clock: Clock, there: Callable[[], Awaitable[int]] | None = None
    ) -> None:
        """`there` is the clock of a store that several machines share."""
        self._store = store
        self._clock = clock
        self._there = there

    async def run_once(self) -> int:
        now_us = await self._now_us()
        expired = await answered(self._store.expire(now_us, BATCH))
        settles = [self._unknown(each, now_us) for each in expired if each.dispatched]
        never = [each.op for each in expired if not each.dispatched]
        if settles:
            await answered(self._store.settle(settles, now_us))
        if never:
            await answered(self._store.lapse(never, now_us))
        return len(expired)

    async def _now_us(self) -> int:
        """A clock that is ahead must not end the calls that others are running."""
        now_us = self._clock()
        return now_us if self._there is None else min(now_us, await self._there())

    def _unknown(self, expired: Expired, now_us: int) -> Settle:
        twin = expired.twin.fields if expired.twin else None
        terms = decode_terms(expired.terms)
        event = unknown_outcome(expired.op, expired.request_id, terms, twin, now_us)
        return Settle(expired.op, event.amounts, encode_event(event))
