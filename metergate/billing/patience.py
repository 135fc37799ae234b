"""How long providers asked to be left alone: what comes by itself waits so long, and a payer never does."""

from typing import Final

from metergate.ports import Clock
from metergate.provider_port import TryAgain

LONGEST_US: Final = 24 * 3600 * 10**6
"""Nobody is believed who asks for more: a mistake in a header must not stop payments for a year."""


class Patience:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_us: dict[str, int] = {}

    def heard(self, provider: str, error: Exception) -> None:
        """Remember what a provider asked for, if it did."""
        if isinstance(error, TryAgain) and error.after_s > 0:
            wait_us = int(min(error.after_s * 10**6, LONGEST_US))
            self._until_us[provider] = max(self._until_us.get(provider, 0), self._clock() + wait_us)

    def left_us(self, provider: str) -> int:
        """How much longer it wants to be left alone; 0 when it may be asked."""
        left_us = self._until_us.get(provider, 0) - self._clock()
        return min(max(0, left_us), LONGEST_US)
