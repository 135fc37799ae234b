"""One connection to an upstream. A request goes out, its response comes in, then perhaps the next.

Whatever the upstream sends that could be read in two ways ends the connection: a length beside chunks, folded
lines, encodings that are not ours, bytes that nobody asked for.
"""

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from metergate.errors import ConfigurationError
from metergate.upstream.errors import UpstreamError, invalid, too_slow, unreachable
from metergate.upstream.names import lower, lowered
from metergate.upstream.response import BUFFERED_MAX, Headers, Response

if TYPE_CHECKING:
    import httptools

HEAD_MAX = 131_072
"""The bytes of a head, or of trailers, or of anything else that is not the body."""
HEADERS_MAX = 256

CONTENT_LENGTH = b"content-length"
HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
})  # fmt: skip
"""What concerns one connection only and is never passed on."""
LOOKED_AT = HOP_BY_HOP | {CONTENT_LENGTH}


class Home(Protocol):
    """The pool, as far as its connections know it."""

    silence_s: float
    first_byte_s: float
    total_s: float

    def released(self, connection: "Connection") -> None: ...

    def lost(self, connection: "Connection") -> None: ...


class Http(NamedTuple):
    """What is used of httptools, which comes with an extra."""

    parser: "type[httptools.HttpResponseParser]"
    error: type[Exception]
    upgrade: type[Exception]


def http() -> Http:
    try:
        import httptools
    except ModuleNotFoundError:
        raise ConfigurationError("Forwarding needs httptools: pip install 'metergate[server]'") from None
    return Http(httptools.HttpResponseParser, httptools.HttpParserError, httptools.HttpParserUpgrade)


class Unreadable(Exception):
    """Raised inside the parser's callbacks."""


class Connection(asyncio.Protocol):
    __slots__ = (
        "_blocked", "_chunked", "_closes", "_headers", "_home", "_http", "_keep", "_loop", "_named",
        "_parser", "_reading", "_sending", "_sized", "_status", "_unseen", "idle_for_s", "is_lost",
        "moved", "response", "since", "transport", "until",
    )  # fmt: skip

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop, http: Http) -> None:
        self._home = home
        self._loop = loop
        self._http = http
        self._parser = http.parser(self)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.response: Response | None = None
        """The exchange that is going on."""
        self.is_lost = False
        self.idle_for_s = 0.0
        """How long the upstream said it keeps an idle connection; zero if it did not say."""
        self.since = 0.0
        """When something moved last, in coarse time."""
        self.until = 0.0
        """When the exchange must be over; zero for no such time."""
        self.moved = False
        self._reading = True
        self._sending = False
        self._blocked: asyncio.Future[None] | None = None
        self._headers: Headers = []
        self._status = 0
        self._unseen = 0
        self._keep = self._chunked = self._sized = self._closes = False
        self._named: set[bytes] = set()

    # -- the request ---------------------------------------------------------------------------------------

    def send(
        self, data: bytes, now: float, *, bodyless: bool = False, upgrades: bool = False, more: bool = False
    ) -> Response:
        """Begin an exchange: the head, and as much of the body as there is."""
        response = Response(self._loop, self, bodyless, upgrades)
        self.response = response
        self.since = now
        self.until = now + self._home.total_s if self._home.total_s else 0.0
        self.moved = self._keep = self._chunked = self._sized = self._closes = False
        self._status = self._unseen = 0
        self._sending = more
        self.transport.write(data)
        return response

    def write(self, data: bytes) -> None:
        """More of the request."""
        if self.response is not None:
            self.moved = True
            self.transport.write(data)

    def sent(self) -> None:
        """The request is complete."""
        self._sending = False

    async def room(self) -> None:
        """Wait until the upstream has taken enough of what was written."""
        while self._blocked is not None:
            await self._blocked

    # -- the response --------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """The reader has caught up."""
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()

    def abandon(self) -> None:
        """The reader wants no more."""
        self.response = None
        self.transport.abort()

    def close(self) -> None:
        self.transport.close()

    def look(self, now: float) -> None:
        """Whether the upstream keeps its times."""
        response = self.response
        if response is None:
            return
        slow, response.slow = response.slow, None
        if slow is not None:
            slow()
        home = self._home
        if self.moved or not self._reading:
            self.moved = False
            self.since = now
        elif now - self.since > (home.silence_s if response.status else home.first_byte_s):
            self._fail(too_slow("The upstream was silent for too long."))
        if self.until and now > self.until:
            self._fail(too_slow("The upstream took longer than it may altogether."))

    def _fail(self, error: UpstreamError) -> None:
        response, self.response = self.response, None
        if response is not None:
            response.fail(error)
        self.transport.abort()

    def _finished(self, response: Response) -> None:
        self.response = None
        response.line = None
        if response.bodyless:
            self._parser = self._http.parser(self)  # it waits for a body that does not come
        if self._keep and not self._sending and not self.transport.is_closing():
            self._home.released(self)
        else:
            self.transport.close()

    # -- asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        response = self.response
        if response is None:
            self.transport.abort()  # an answer to nothing would be taken for the answer to the next request
            return
        self.moved = True
        self._unseen += len(data)
        try:
            self._parser.feed_data(data)
        except self._http.upgrade as upgrade:
            self._changed(response, data[upgrade.args[0] :])
            return
        except self._http.error as error:
            self._unreadable(response, error)
            return
        if response.waiter is not None:
            response.wake()  # once, for all that came
        if response.complete:
            self._finished(response)
        elif self._unseen > HEAD_MAX:
            self._fail(invalid("The upstream sent too large a head."))
        elif response.size > BUFFERED_MAX and self._reading:
            self._reading = False
            self.transport.pause_reading()

    def _changed(self, response: Response, rest: bytes) -> None:
        """Wait for who speaks the other protocol."""
        self._reading = False
        self.transport.pause_reading()
        response.rest = rest
        response.status = self._status
        response.wake()

    def _unreadable(self, response: Response, error: Exception) -> None:
        """A whole answer stays one, whatever comes after it; then the connection is good for nothing."""
        if response.complete:
            self.response = response.line = None
            response.wake()
            self.transport.abort()
        else:
            told = error.__context__ if isinstance(error.__context__, Unreadable) else error
            self._fail(invalid(f"The upstream's answer cannot be read: {told}."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._parser = cast("httptools.HttpResponseParser", None)  # it leads back to us
        response, self.response = self.response, None
        if response is not None:
            response.line = None
            if exc is None and response.status and self._ends_with_the_connection():
                response.complete = True
                response.wake()
            else:
                how = "in the middle of" if response.status else "before"
                response.fail(unreachable(f"The upstream closed the connection {how} its answer."))
        self.resume_writing()
        self._home.lost(self)

    def pause_writing(self) -> None:
        if self._blocked is None:
            self._blocked = self._loop.create_future()

    def resume_writing(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    # -- the parser ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.response is None or self.response.complete:
            raise Unreadable("more than one answer")
        self._headers = []
        self._named.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        try:
            name = lowered[name]
        except KeyError:
            name = lower(name)
        if name in LOOKED_AT:
            self._look_at(name, value)
        else:
            self._headers.append((name, value))

    def _look_at(self, name: bytes, value: bytes) -> None:
        response = self.response
        assert response is not None
        if response.status:
            return  # a trailer frames nothing
        if name == CONTENT_LENGTH:
            self._sized = True
            self._headers.append((name, value))
        elif name == b"connection":
            tokens = {token.strip().lower() for token in value.split(b",")}
            self._closes = self._closes or b"close" in tokens
            self._named |= tokens - {b"close", b"keep-alive", b""}
        elif name == b"transfer-encoding":
            if self._chunked or value.lower() != b"chunked" or self._parser.get_http_version() != "1.1":
                raise Unreadable("a transfer encoding other than chunked")
            self._chunked = True
        elif name == b"keep-alive":
            self.idle_for_s = _timeout(value)
        elif name == b"trailer":
            response.announced = True

    def on_headers_complete(self) -> None:
        response = self.response
        assert response is not None
        self._status = status = self._parser.get_status_code()
        if not 100 <= status <= 599:
            raise Unreadable("no status that HTTP knows")
        if status < 200:
            self._interim(response, status)
            return
        if len(self._headers) > HEADERS_MAX:
            raise Unreadable("too many headers")
        if self._named:
            self._headers = [pair for pair in self._headers if pair[0] not in self._named]
        self._unseen = 0
        response.headers = self._headers
        response.status = status
        self._headers = response.trailers
        if response.bodyless:
            response.complete = True
            self._keep = not self._closes and self._parser.get_http_version() == "1.1"

    def _interim(self, response: Response, status: int) -> None:
        if status == 101:
            if not response.upgrades:
                raise Unreadable("a change of protocol that nobody asked for")
            response.headers = self._headers
        if status == 100 and response.continued is not None:
            continued, response.continued = response.continued, None
            continued()

    def on_body(self, chunk: bytes) -> None:
        response = self.response
        assert response is not None
        if response.complete:
            raise Unreadable("a body where there is none")
        self._unseen = 0
        response.chunks.append(chunk)
        response.size += len(chunk)

    def on_chunk_header(self) -> None:
        """A chunk begins; a trailer has none, so that its bytes add up."""
        self._unseen = 0

    def on_message_complete(self) -> None:
        response = self.response
        assert response is not None
        if self._status < 200 or response.complete:
            return
        self._keep = self._parser.should_keep_alive()  # no longer true a moment later
        response.complete = True

    def _ends_with_the_connection(self) -> bool:
        return not self._chunked and not self._sized


def _timeout(value: bytes) -> float:
    """The seconds in `timeout=5, max=100`."""
    for part in value.split(b","):
        name, _, seconds = part.strip().partition(b"=")
        if name.strip().lower() == b"timeout" and seconds.strip().isdigit():
            return min(float(seconds), 3600.0)
    return 0.0
