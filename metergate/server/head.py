"""The head of a request as it comes in: refused when it is too much or could be read in two ways."""

import re
import secrets

import msgspec

from metergate.core.refusal import Refusal, body, headers
from metergate.server.cycle import status_line
from metergate.server.door import Door

NOTED = frozenset({b"content-length", b"expect", b"host", b"te", b"transfer-encoding", b"upgrade"})

_HOST = re.compile(rb"[A-Za-z0-9._~:\[\]-]+\Z")


class Refused(Exception):
    """Raised inside the parser's callbacks."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def bad(detail: str) -> Refused:
    return Refused(Refusal("bad_request", detail))


class RequestHead:
    __slots__ = (
        "_door", "_encoded", "_sized", "complete", "expects", "headers", "host", "size", "upgrade", "url",
        "wants_trailers",
    )  # fmt: skip

    def __init__(self, door: Door) -> None:
        self._door = door
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.size = 0
        self.host = self.upgrade = b""
        self.expects = self.wants_trailers = False
        self._sized = self._encoded = False
        self.complete = False

    def add_url(self, part: bytes) -> None:
        self.url += part
        if len(self.url) > self._door.url_bytes:
            raise Refused(Refusal("url_too_long"))

    def add(self, name: bytes, value: bytes) -> None:
        self.size += len(name) + len(value)
        if self.size > self._door.header_bytes or len(self.headers) >= self._door.header_count:
            raise Refused(Refusal("headers_too_large"))
        if self.complete:
            return  # a trailer is no header, whatever it is called
        name = name.lower()
        self.headers.append((name, value))
        if name in NOTED:
            self._note(name, value)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self.host or not _HOST.match(value):
                raise bad("Send one Host header that names a host.")
            self.host = value
        elif name == b"content-length":
            self._sized = True
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise bad("Send no Transfer-Encoding but chunked.")
            self._encoded = True
        elif name == b"expect":
            self.expects = value.lower() == b"100-continue"
        elif name == b"te":
            self.wants_trailers = b"trailers" in value.lower()
        else:
            self.upgrade = value.lower()

    def finish(self, version: str, *, upgrades: bool) -> None:
        """No more headers come; what is there must make sense."""
        self.complete = True
        if version != "1.1" and (version != "1.0" or self._encoded):
            raise bad("Send HTTP/1.1, or HTTP/1.0 without a Transfer-Encoding.")
        if version == "1.1" and not self.host:
            raise bad("Send a Host header.")
        if self._door.hosts and self.host.lower() not in self._door.hosts:
            raise bad("This host is not served here.")
        if self.url[:1] != b"/" or b"#" in self.url:
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
            *lines,
            b"metergate-request-id: %b\r\n" % request_id.encode(),
            b"content-length: %d\r\nconnection: close\r\n\r\n" % len(told),
            told,
        ]
    )
