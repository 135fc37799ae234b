"""Chains what the ledger has gathered, a link every few seconds, and more of them while much is waiting.

Any number of workers may do it: the next link is made by whoever gets the lock for a moment.
"""

from typing import Final

from metergate.ledger import chain
from metergate.ledger.chain import Look
from metergate.ledger.database import Tx
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock

EVERY_US: Final = 5 * 10**6
LINKS: Final = 20
"""How many are made at once while much is waiting."""


class Chaining:
    def __init__(self, ledger: LedgerThread, clock: Clock) -> None:
        self.caught_up_us = clock()
        """Up to when everything that was written is known to be chained."""
        self._ledger = ledger
        self._clock = clock
        self._next_us = 0
        self._look: Look | None = None
        self._looked_us = 0

    async def run_once(self, links: int = LINKS) -> int:
        """Make the next links, if it is time; whether more are left for the next round."""
        now_us = self._clock()
        if 0 < self._next_us - now_us <= EVERY_US:  # a clock may go back
            return 0
        if self._look is None:
            self._look, self._looked_us = await self._ledger.read(chain.look), now_us
        elif self._look.writers:
            self._look = await self._ledger.read(self._look_again)
        if self._look.writers:
            return 0  # until they have ended, what is below may still change
        reached = self._look.reached
        for _ in range(links):
            if not await self._ledger.write(lambda tx: chain.extend(tx, reached, now_us)):
                self.caught_up_us, self._look = self._looked_us, None
                self._next_us = now_us + EVERY_US
                return 0
        return 1

    async def finish(self) -> None:
        """Chain what is there now, as far as that takes no time."""
        self._next_us = 0
        await self.run_once(links=1)

    def lag_us(self) -> int:
        """How much longer than usual rows have waited for a link."""
        return max(0, self._clock() - self.caught_up_us - 2 * EVERY_US)

    def _look_again(self, tx: Tx) -> Look:
        assert self._look is not None
        return self._look._replace(writers=chain.still_writing(tx, self._look.writers))
