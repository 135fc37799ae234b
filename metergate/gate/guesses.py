"""Wrong secrets by the address that they came from: a few at once, then one in a while.

Who showed a right one a moment ago is listened to all the same: an address may be many, and a front passes on
what its clients send.
"""

import time
from collections.abc import Callable


class Guesses:
    ADDRESSES = 4096
    KNOWN_S = 60.0

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, at_once: int = 10, every_s: float = 6.0
    ) -> None:
        self._clock = clock
        self._at_once = at_once
        self._every_s = every_s
        self._until: dict[str, float] = {}
        """When the last of an address's wrong ones will be forgotten."""
        self._known: dict[str, float] = {}
        """Until when an address is known to have shown a right one."""

    def wait_s(self, address: str) -> int:
        """How long nobody there is listened to; 0 where there were few enough."""
        left = self._until.get(address, 0.0) - self._clock() - (self._at_once - 1) * self._every_s
        return max(0, int(left) + 1) if left > 0 else 0

    def wrong(self, address: str) -> None:
        now = self._clock()
        until = max(self._until.pop(address, 0.0), now) + self._every_s
        if len(self._until) >= self.ADDRESSES:
            self._until.pop(next(iter(self._until)))
        self._until[address] = until

    def right(self, address: str) -> None:
        if len(self._known) >= self.ADDRESSES:
            self._known.clear()
        self._known[address] = self._clock() + self.KNOWN_S

    def knows(self, address: str) -> bool:
        """Whether a right one came from there a moment ago."""
        return self._known.get(address, 0.0) > self._clock()
