"""Grants that end: what is left of them leaves the ledger and the spendable sum at their instant."""

from metergate.ledger import grants, twins
from metergate.ledger.database import Tx
from metergate.ledger.thread import LedgerThread
from metergate.ports import Adjust, Clock, CounterStore
from metergate.worker.flusher import Flusher, answered


class Expiry:
    def __init__(self, store: CounterStore, ledger: LedgerThread, flusher: Flusher, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._flusher = flusher
        self._clock = clock
        self._next_us: int | None = 0

    def look_again(self) -> None:
        """A grant was given: the next one to end may be another."""
        self._next_us = 0

    async def run_once(self) -> int:
        now_us = self._clock()
        if self._next_us is None or self._next_us > now_us:
            return 0
        # What was used before the instant burns the grant first.
        await self._flusher.run_dry()
        ended = await self._ledger.write(lambda tx: self._end(tx, now_us))
        changes = [Adjust(f"expire:{each.grant}", each.account, -each.amount) for each in ended]
        if changes:
            await answered(self._store.sync(changes, now_us))
        self._next_us = await self._ledger.read(grants.next_expiry_us)
        return len(ended)

    def _end(self, tx: Tx, now_us: int) -> list[grants.Expired]:
        twins.purge(tx, now_us)
        return grants.expire_due(tx, now_us)
