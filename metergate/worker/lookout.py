"""Looks once a second for what an operator should know before it hurts, and says so once."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from metergate import alarms
from metergate.alarms import Told
from metergate.errors import ConfigurationError
from metergate.ports import Clock, CounterStore, Danger
from metergate.worker.chaining import Chaining

log = logging.getLogger("metergate.worker")

SECOND_US: Final = 10**6
HIGH, LOW = 80, 60
"""In percent of the backlog: from where on it is told, and from where on it may be told again."""
JUMP_US: Final = 2 * SECOND_US
CHAIN_LAG_US: Final = 600 * SECOND_US


def monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class Lookout:
    def __init__(
        self,
        store: CounterStore,
        chaining: Chaining,
        clock: Clock,
        backlog: int,
        steady: Callable[[], int] = monotonic_us,
    ) -> None:
        self.clock_jumps = 0
        self._store = store
        self._chaining = chaining
        self._clock = clock
        self._steady = steady
        self._backlog = backlog
        self._apart_us = clock() - steady()
        self._told = Told(log)

    def look(self) -> None:
        waiting = self._store.health().backlog * 100
        self._told.mind(
            alarms.BACKLOG,
            waiting >= HIGH * self._backlog,
            waiting >= LOW * self._backlog,
            f"{waiting // 100} of {self._backlog} usage events wait for the ledger; when it is full, metered "
            "calls are answered with 503.",
        )
        behind = self._chaining.lag_us() > CHAIN_LAG_US
        self._told.mind(alarms.CHAIN_BEHIND, behind, behind, "The chain over the ledger is minutes behind.")
        self._look_at_the_clock()

    def _look_at_the_clock(self) -> None:
        apart_us = self._clock() - self._steady()
        jumped_us, self._apart_us = apart_us - self._apart_us, apart_us
        if abs(jumped_us) > JUMP_US:
            self.clock_jumps += 1
            alarms.tell(log, alarms.CLOCK, f"The clock jumped by {jumped_us / SECOND_US:.1f} seconds.")


def mind(dangers: Iterable[Danger], *, strict: bool = False) -> None:
    """Refuse settings that lose money, and in the profile `strict` those that could; warn of the rest."""
    for danger in dangers:
        if danger.always or (strict and danger.strict):
            raise ConfigurationError(f"{danger.sentence[:1].upper()}{danger.sentence[1:]}.")
        if not danger.told_by_doctor:
            log.warning("Mind: %s.", danger.sentence)
