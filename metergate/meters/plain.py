"""Counters that look at the size, the length or the head of a call, and never into its content."""

from metergate.core.money import UNITS_MAX
from metergate.meters.counter import Clock, Counter, Headers, believed

SECOND_US = 10**6
UPGRADED = 101


class Bytes(Counter):
    """The bytes of the bodies, as they went over the wire."""

    def __init__(self, of: str) -> None:
        self.wants_request = of != "response"
        self._of = of
        self._seen = 0

    def request(self, chunk: bytes) -> None:
        if self.wants_request:
            self._seen += len(chunk)

    def feed(self, chunk: bytes) -> None:
        if self._of != "request":
            self._seen += len(chunk)

    def finish(self) -> int:
        return self._seen


class Seconds(Counter):
    """The seconds since the call was admitted; a begun second counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_us = clock()

    def finish(self) -> int:
        # A clock that is set back in the meantime makes a call short, never free.
        return max(1, -((self._began_us - self._clock()) // SECOND_US))


class Messages(Counter):
    """The messages of a WebSocket; an ordinary response is one message."""

    def __init__(self) -> None:
        self._seen = 0

    def start(self, status: int, headers: Headers) -> None:
        if status != UPGRADED:
            self._seen = 1

    def message(self) -> None:
        self._seen += 1

    def finish(self) -> int:
        return self._seen


class Header(Counter):
    """The number in a header of the response. Two headers that disagree say nothing."""

    def __init__(self, name: str, most: int = UNITS_MAX) -> None:
        self._name = name.lower().encode("latin-1")
        self._most = most
        self._values: set[bytes] = set()

    def start(self, status: int, headers: Headers) -> None:
        self._values = {value.strip(b" \t") for name, value in headers if name.lower() == self._name}

    def value(self) -> str | None:
        return next(iter(self._values)).decode("latin-1") if len(self._values) == 1 else None

    def finish(self) -> int | None:
        return believed(self.value(), self._most)
