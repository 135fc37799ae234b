"""The sandbox's meters: they count what they are told, once per identifier while they remember it."""

from collections.abc import Callable
from typing import Final, NamedTuple

from metergate.provider_port import Complaint, UsageTotal

DAY_US: Final = 86_400 * 10**6
FORGETS_US: Final = DAY_US
OLDEST_US: Final = 35 * DAY_US
AHEAD_US: Final = 300 * 10**6


class Counted(NamedTuple):
    total: UsageTotal
    at_us: int
    """When it came."""
    notify: str


class Usage:
    def __init__(self, clock: Callable[[], int]) -> None:
        self.counted: list[Counted] = []
        self.complaints: dict[str, list[Complaint]] = {}
        """Of totals that were dropped, by the event that tells of it."""
        self._clock = clock
        self._identifiers: dict[str, int] = {}

    def push(self, total: UsageTotal, notify: str) -> str:
        """Why it is not taken; empty when it is, or was a moment ago."""
        now_us = self._clock()
        if now_us - self._identifiers.get(total.identifier, now_us - FORGETS_US) < FORGETS_US:
            return ""
        if not now_us - OLDEST_US <= total.at_us <= now_us + AHEAD_US:
            return "Send usage of the last 35 days."
        self._identifiers[total.identifier] = now_us
        self.counted.append(Counted(total, now_us, notify))
        return ""

    def summary(self, customer: str, meter: str, start_us: int, end_us: int) -> int:
        return sum(
            total.units
            for total, _, _ in self.counted
            if (total.customer, total.meter) == (customer, meter) and start_us <= total.at_us < end_us
        )

    def drop(self, identifier: str, why: str, event: str) -> str:
        """Forget a total; who wants to hear of it."""
        gone = [each for each in self.counted if each.total.identifier == identifier]
        self.counted = [each for each in self.counted if each.total.identifier != identifier]
        self.complaints[event] = [Complaint(identifier, why)]
        return gone[0].notify
