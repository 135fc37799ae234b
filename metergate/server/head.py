"""The head of a request as it comes in: refused when it is too much or could be read in two ways."""

import asyncio
import re
import secrets

import msgspec

from metergate.core.refusal import Refusal, body, headers
from metergate.server.cycle import status_line
from metergate.server.door import Door
from metergate.server.flow import Flow
from metergate.upstream.names import lower, lowered

NOTED = frozenset({b"content-length", b"expect", b"host", b"te", b"transfer-encoding", b"upgrade"})

_HOST = re.compile(rb"[A-Za-z0-9._~:\[\]-]+\Z")


class Refused(Exception):
    """Raised inside the parser's callbacks."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def bad(detail: str) -> Refused:
    return Refused(Refusal("bad_request", detail))


class HeadReader(Flow):
    """Reads one head after the other, as the parser finds its parts."""

    __slots__ = (
        "_door", "_encoded", "_expects", "_head_size", "_headers", "_host", "_in_head", "_sized", "_upgrade",
        "_url", "_wants_trailers",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, door: Door) -> None:
        super().__init__(loop)
        self._door = door
        self._begin_head()
        self._in_head = False

    def _begin_head(self) -> None:
        self._in_head = True
        self._url = self._host = self._upgrade = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._expects = self._wants_trailers = self._sized = self._encoded = False

    def on_url(self, part: bytes) -> None:
        self._url += part
        if len(self._url) > self._door.url_bytes:
            raise Refused(Refusal("url_too_long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size = size = self._head_size + len(name) + len(value)
        door, headers = self._door, self._headers
        if size > door.header_bytes or len(headers) >= door.header_count:
            raise Refused(Refusal("headers_too_large"))
        if not self._in_head:
            return  # a trailer is no header, whatever it is called
        try:
            name = lowered[name]
        except KeyError:
            name = lower(name)
        headers.append((name, value))
        if name in NOTED:
            self._note(name, value)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self._host or not _HOST.match(value):
                raise bad("Send one Host header that names a host.")
            self._host = value
        elif name == b"content-length":
            self._sized = True
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise bad("Send no Transfer-Encoding but chunked.")
            self._encoded = True
        elif name == b"expect":
            self._expects = value.lower() == b"100-continue"
        elif name == b"te":
            self._wants_trailers = b"trailers" in value.lower()
        else:
            self._upgrade = value.lower()

    def _finish_head(self, version: str, *, upgrades: bool) -> None:
        """No more headers come; what is there must make sense."""
        self._in_head = False
        if version != "1.1" and (version != "1.0" or self._encoded):
            raise bad("Send HTTP/1.1, or HTTP/1.0 without a Transfer-Encoding.")
        if version == "1.1" and not self._host:
            raise bad("Send a Host header.")
        if self._door.hosts and self._host.lower() not in self._door.hosts:
            raise bad("This host is not served here.")
        if self._url[:1] != b"/" or self._url.find(b"#") >= 0:
            raise bad("Send a path that begins with a slash, and no fragment.")
        if upgrades and (self._encoded or self._sized):
            raise bad("Send no body with a request for another protocol.")


def answer(refusal: Refusal) -> bytes:
    """The whole answer to a request that no app has seen."""
    request_id = f"req_{secrets.token_hex(12)}"
    told = msgspec.json.encode(body(refusal, request_id, currency="", top_up_url=""))
    lines = [b"%b: %b\r\n" % pair for pair in headers(refusal, top_up_url="")]
    return b"".join(
        [
            status_line(refusal.status),
            b"\r\n",
            *lines,
            b"metergate-request-id: %b\r\n" % request_id.encode(),
            b"content-length: %d\r\nconnection: close\r\n\r\n" % len(told),
            told,
        ]
    )
