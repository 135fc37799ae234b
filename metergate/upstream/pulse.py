"""Coarse time: one timer for all connections of a loop, instead of one for every call.

Deadlines of seconds need no clock of microseconds. The pulse beats only while something is open.
"""

import asyncio
from collections.abc import Callable

BEAT_S = 0.25


class Pulse:
    def __init__(self, loop: asyncio.AbstractEventLoop, beat_s: float = BEAT_S) -> None:
        self.now = loop.time()
        """The time of the last beat."""
        self._loop = loop
        self._beat_s = beat_s
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: set[Callable[[float], bool]] = set()

    def call(self, listener: Callable[[float], bool]) -> None:
        """Call this with the time at every beat, for as long as it answers that it has more to watch."""
        self._listeners.add(listener)
        if self._timer is None:
            self.now = self._loop.time()
            self._timer = self._loop.call_later(self._beat_s, self._beat)

    def stop(self) -> None:
        self._listeners.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._timer = None
        self.now = now = self._loop.time()
        for listener in tuple(self._listeners):
            if not listener(now):
                self._listeners.discard(listener)
        if self._listeners and self._timer is None:
            self._timer = self._loop.call_later(self._beat_s, self._beat)
