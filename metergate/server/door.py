"""Who may come in, how many at once, and how long they may take: what all connections of a server share."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from metergate.core.addresses import Proxies, is_address, one_caller
from metergate.core.policy import Serve
from metergate.errors import ConfigurationError
from metergate.upstream import Pulse

if TYPE_CHECKING:
    import httptools

Headers = list[tuple[bytes, bytes]]

US = 10**6
BEAT_S = 1.0


class Guest(Protocol):
    """A connection, as far as the door looks after it."""

    def look(self, now: float) -> None: ...


class Head(Protocol):
    """An answer whose head waits for its body."""

    head: bytes

    def flush(self) -> None: ...


class Http(NamedTuple):
    """What is used of httptools, which comes with an extra."""

    parser: "type[httptools.HttpRequestParser]"
    error: type[Exception]
    upgrade: type[Exception]


def http() -> Http:
    try:
        import httptools
    except ModuleNotFoundError:
        raise ConfigurationError("Serving needs httptools: pip install 'metergate[server]'") from None
    return Http(httptools.HttpRequestParser, httptools.HttpParserError, httptools.HttpParserUpgrade)


class Door:
    def __init__(self, serve: Serve) -> None:
        self.http = http()
        self.url_bytes = serve.url_bytes
        self.header_bytes = serve.header_bytes
        self.head_bytes = serve.header_bytes + serve.url_bytes
        self.header_count = serve.header_count
        self.hosts = frozenset(host.encode("ascii") for host in serve.hosts)
        self.head_within_s = serve.head_within_us / US
        self.body_silence_s = serve.body_silence_us / US
        self.read_silence_s = serve.read_silence_us / US
        self.keep_alive_s = serve.keep_alive_us / US
        self._connections = serve.connections
        self._per_address = serve.connections_per_address
        self._proxies = Proxies(serve.trusted_proxies)
        self._from: Counter[str] = Counter()
        self._heads: list[Head] = []
        """Those that go out at the end of this turn of the loop, unless a body has taken them along."""
        self._dated: Headers = []
        self._lines = b"\r\n"
        self.now = 0.0
        """Coarse time."""
        self.turned_away = 0
        """How many were refused and are still here."""
        self._guests: set[Guest] = set()
        self._pulse: Pulse | None = None

    def enter(self, guest: Guest, address: str) -> str | None:
        """Let a connection in; what to count it as, or None when there are too many."""
        who = self._who(address)
        if len(self._guests) >= self._connections or self._from[who] >= self._per_address:
            return None
        if who:
            self._from[who] += 1
        if not self._guests:
            self._begin()
        self._guests.add(guest)
        return who

    def leave(self, guest: Guest, who: str) -> None:
        self._guests.discard(guest)
        if who:
            self._from[who] -= 1
            if not self._from[who]:
                del self._from[who]

    def flush_soon(self, head: Head, loop: asyncio.AbstractEventLoop) -> None:
        if not self._heads:
            loop.call_soon(self._flush)
        self._heads.append(head)

    def _flush(self) -> None:
        heads, self._heads = self._heads, []
        for each in heads:
            if each.head:
                each.flush()

    def last_lines(self, headers: Headers) -> bytes:
        """The end of a head, with what uvicorn has for every answer; it changes once a second."""
        if headers is not self._dated:
            self._dated = headers
            self._lines = b"".join([b"%b: %b\r\n" % pair for pair in headers]) + b"\r\n"
        return self._lines

    def _who(self, address: str) -> str:
        """What connections of an address count as together; empty where nobody counts them."""
        return one_caller(address) if is_address(address) and not self._proxies.trust(address) else ""

    def _begin(self) -> None:
        if self._pulse is None:
            times = (self.head_within_s, self.body_silence_s, self.read_silence_s, self.keep_alive_s)
            self._pulse = Pulse(asyncio.get_running_loop(), min(BEAT_S, min(times) / 4))
        self._pulse.call(self._look)
        self.now = self._pulse.now

    def _look(self, now: float) -> bool:
        self.now = now
        everybody: Iterable[Guest] = tuple(self._guests)
        for guest in everybody:
            guest.look(now)
        return bool(self._guests)
