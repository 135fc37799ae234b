"""Grants that end: what is left of them leaves the ledger and the spendable sum at their instant."""

import sys

from metergate.ledger import grants, twins
from metergate.ledger.database import Tx
from metergate.ledger.telling import Teller
from metergate.ports import Adjust, Change, Clock
from metergate.worker.flusher import Flusher

LOOK_EVERY_US = 5 * 10**6
"""How long another process may have given a grant that ends sooner than those that are known here."""


class Expiry:
    def __init__(self, teller: Teller, flusher: Flusher, clock: Clock) -> None:
        self._teller = teller
        self._flusher = flusher
        self._clock = clock
        self._next_us = 0

    def look_again(self) -> None:
        """A grant was given: the next one to end may be another."""
        self._next_us = 0

    async def run_once(self) -> int:
        now_us = self._clock()
        if self._next_us > now_us:
            return 0
        # What was used before the instant burns the grant first.
        until_us = await self._flusher.posted_until(now_us)
        ended = await self._teller.change(lambda tx: _end(tx, until_us))
        next_us = await self._teller.ledger.read(grants.next_expiry_us)
        look_us = now_us + LOOK_EVERY_US if self._teller.shared else sys.maxsize
        self._next_us = min(next_us or sys.maxsize, look_us)
        return ended


def _end(tx: Tx, now_us: int) -> tuple[int, list[Change]]:
    twins.purge(tx, now_us)
    ended = grants.expire_due(tx, now_us)
    return len(ended), [Adjust(f"expire:{each.grant}", each.account, -each.amount) for each in ended]
