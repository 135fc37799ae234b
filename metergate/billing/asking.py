"""What providers answer: counted by provider and outcome, and how long each asked to be left alone."""

import logging
from collections import Counter
from collections.abc import Awaitable
from typing import Final, TypeVar

from metergate import alarms
from metergate.alarms import Told
from metergate.ports import Clock
from metergate.provider_port import Misconfigured, TryAgain, UnknownOutcome

log = logging.getLogger("metergate.billing")
T = TypeVar("T")

LONGEST_US: Final = 24 * 3600 * 10**6
"""Nobody is believed who asks for more: a mistake in a header must not stop payments for a year."""
AWAY_US: Final = 300 * 10**6
"""How long nobody may have had an answer before an operator should know."""
OK: Final = "ok"


class Asking:
    def __init__(self, clock: Clock) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        """How often each provider answered how: "ok", or the reason of what it raised."""
        self._clock = clock
        self._until_us: dict[str, int] = {}
        self._silent_us: dict[str, int] = {}
        """Since when nobody has had an answer."""
        self._told = Told(log)

    async def of(self, provider: str, answer: Awaitable[T]) -> T:
        """The answer of a provider. What comes by itself looks at `left_us` first, a payer never waits."""
        try:
            got = await answer
        except Exception as error:  # whatever it raises is counted, and raised
            self.answers[provider, getattr(error, "reason", "error")] += 1
            self._heard(provider, error)
            raise
        self.answers[provider, OK] += 1
        self._answered(provider)
        return got

    def left_us(self, provider: str) -> int:
        """How much longer it wants to be left alone; 0 when it may be asked."""
        left_us = self._until_us.get(provider, 0) - self._clock()
        return min(max(0, left_us), LONGEST_US)

    def _heard(self, provider: str, error: Exception) -> None:
        now_us = self._clock()
        if isinstance(error, TryAgain) and error.after_s > 0:
            wait_us = int(min(error.after_s * 10**6, LONGEST_US))
            self._until_us[provider] = max(self._until_us.get(provider, 0), now_us + wait_us)
        if not isinstance(error, (TryAgain, UnknownOutcome, Misconfigured)):
            self._answered(provider)  # it said no
            return
        away_us = now_us - self._silent_us.setdefault(provider, now_us)
        sentence = f"Nobody has had an answer of {provider} for {away_us // 10**6} seconds: {error}"
        self._told.mind(alarms.PROVIDER_AWAY, away_us >= AWAY_US, True, sentence, provider)

    def _answered(self, provider: str) -> None:
        if self._silent_us.pop(provider, None) is not None:
            self._told.mind(alarms.PROVIDER_AWAY, False, False, "", provider)
