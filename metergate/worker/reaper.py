"""Holds whose time is over: given back if nothing was dispatched, settled by the policy's rule if it was."""

from metergate.core.hold import unknown_outcome
from metergate.ports import Clock, CounterStore, Expired, Settle, answered
from metergate.wire import decode_terms, encode_event

BATCH = 500


class Reaper:
    def __init__(self, store: CounterStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run_once(self) -> int:
        now_us = self._clock()
        expired = await answered(self._store.expire(now_us, BATCH))
        settles = [self._unknown(each, now_us) for each in expired if each.dispatched]
        never = [each.op for each in expired if not each.dispatched]
        if settles:
            await answered(self._store.settle(settles, now_us))
        if never:
            await answered(self._store.lapse(never, now_us))
        return len(expired)

    def _unknown(self, expired: Expired, now_us: int) -> Settle:
        twin = expired.twin.fields if expired.twin else None
        terms = decode_terms(expired.terms)
        event = unknown_outcome(expired.op, expired.request_id, terms, twin, now_us)
        return Settle(expired.op, event.amounts, encode_event(event))
