"""Several processes that serve the same port, and one that watches them.

Who dies is replaced; who dies as soon as it was started is a mistake that would be made again, and ends all.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

HEARD = frozenset({signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM})
TOO_SOON_S = 5.0


def multiply(count: int) -> int:
    """Become so many processes. Returns in each of them with its number, never in the one that watches."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    watch = _Watch()
    numbers: Iterable[int] = range(count)
    while True:
        for number in numbers:
            if watch.start(number):
                return number
        if not watch.running:
            sys.exit(watch.code)
        numbers = watch.next()


class _Watch:
    def __init__(self) -> None:
        self.code = 0
        self.running: dict[int, tuple[int, float]] = {}
        """The number of each process by its id, and when it was started."""
        self._ending = False

    def start(self, number: int) -> bool:
        """Start a process; true in that process, where nothing of this is left."""
        pid = os.fork()
        if not pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
            return True
        self.running[pid] = (number, time.monotonic())
        return False

    def next(self) -> Iterable[int]:
        """Wait for something to happen; the numbers of the processes that have to be started again."""
        heard = signal.sigwait(HEARD)
        if heard == signal.SIGHUP:
            self._tell(signal.SIGHUP)
        elif heard in (signal.SIGINT, signal.SIGTERM):
            self._end()
        else:
            return self._bury()
        return ()

    def _bury(self) -> Iterable[int]:
        """Take note of all that have ended: one signal may stand for several."""
        again = []
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            number, since = self.running.pop(pid)
            if self._ending:
                self.code |= bool(status)
            elif time.monotonic() - since < TOO_SOON_S:
                self.code = 1
                self._end()
            else:
                again.append(number)
        return () if self._ending else again

    def _end(self) -> None:
        self._ending = True
        self._tell(signal.SIGTERM)

    def _tell(self, what: signal.Signals) -> None:
        for pid in self.running:
            os.kill(pid, what)
