"""The head of a forwarded request, in one pass over the client's headers.

First everything goes that is not the upstream's business: what concerns the connection only, what the client
named in `Connection`, credentials, and every spelling of what only a proxy may say. Then our own is added, so
that nothing the client sends can take it away.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from metergate.core.addresses import Proxies
from metergate.core.policy import Upstream
from metergate.upstream.connection import HOP_BY_HOP
from metergate.upstream.errors import BadRequestError
from metergate.upstream.names import NAME_REMEMBERED, REMEMBERED
from metergate.upstream.origin import Origin

NOBODY = Proxies()
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
NO_BODY = b"\r\n"
EXPECT = b"expect: 100-continue\r\n"

PASS, DROP, HOST, LENGTH, CONNECTION, ENCODING, EXPECTATION, TOLD = range(8)
READ = {
    b"host": HOST,
    b"content-length": LENGTH,
    b"connection": CONNECTION,
    b"transfer-encoding": ENCODING,
    b"expect": EXPECTATION,
    b"x-forwarded-for": TOLD,
    b"x-forwarded-host": TOLD,
    b"x-forwarded-proto": TOLD,
}
"""What is read, and written anew from what it says."""
DROPPED = HOP_BY_HOP | {
    b"http2-settings", b"proxy-authorization",
    b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-key", b"sec-websocket-protocol",
    b"sec-websocket-version",
    # They could lead past the rule that was charged.
    b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-original-url", b"x-rewrite-url",
    # Only who is in front of the client can say them.
    b"cf-connecting-ip", b"client-ip", b"forwarded", b"true-client-ip", b"x-client-ip",
    b"x-cluster-client-ip", b"x-original-forwarded-for", b"x-real-ip",
}  # fmt: skip
OWN = (b"metergate-", b"x-metergate-", b"x-forwarded-")
NEVER_PASS = DROPPED | READ.keys() | {b"", b"close"}
"""What `Connection` may name without anything to be done."""
ORDINARY = (b"keep-alive", b"close", b"Keep-Alive")
"""What `Connection` says nearly always."""
LENGTH_DIGITS = 18

_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^`|~-]+\Z")
_TARGET = re.compile(rb"/[!\"$-~]*\Z")
_AUTHORITY = re.compile(rb"[A-Za-z0-9._~:\[\]-]+\Z")


Client = tuple[str, str]
"""Who sent a request: the address of the other end, empty where it has none, and the scheme."""


class Head(msgspec.Struct, gc=False):
    """A head up to how the body is framed, and what the client said of the body."""

    data: bytes
    length: int | None
    chunked: bool
    expects: bool
    """Whether the client keeps the body back until it is asked for it."""


class HeadWriter:
    """Writes heads for one upstream. What becomes of a header is decided once for every name."""

    def __init__(
        self,
        origin: Origin,
        upstream: Upstream,
        secret: Iterable[str] = (),
        proxies: Proxies = NOBODY,
    ) -> None:
        self._prefix = origin.prefix
        self._proxies = proxies
        self._forwarded = upstream.forwarded
        own = {name.lower().encode("ascii"): value.encode("latin-1") for name, value in upstream.headers}
        self._host = b" HTTP/1.1\r\nhost: %b\r\n" % own.pop(b"host", origin.authority)
        self._added = b"".join([b"%b: %b\r\n" % pair for pair in own.items()])
        dropped = DROPPED | own.keys() | {name.lower().encode("latin-1") for name in secret}
        self._dropped = dropped if upstream.cookies else dropped | {b"cookie"}
        self._verdicts: dict[bytes, int] = {}
        self._starts: dict[tuple[str, bytes], bytes] = {}
        """The first lines that were asked for a moment ago."""
        self._told: dict[tuple[Client, bytes], bytes] = {}
        """What was told of clients that asked a moment ago."""

    def write(
        self,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: Client,
        request_id: str = "",
    ) -> Head:
        """The target is the path that policy saw, and the query."""
        parts = [self._starts.get((method, target)) or self._start(method, target)]
        lines = 2
        verdicts = self._verdicts
        host = b""
        aside: list[tuple[int, bytes, bytes]] = []
        for name, value in headers:
            try:
                verdict = verdicts[name]
            except KeyError:
                verdict = self._judge(name)
            if verdict == PASS:
                parts += (name, b": ", value, b"\r\n")
                lines += 1
            elif verdict == HOST and not host:
                host = value
            elif verdict != DROP:
                aside.append((verdict, name, value))
        said = _Said(aside) if aside else NOTHING
        if said.named:
            left = [pair for pair in headers if pair[0] not in said.named]
            return self.write(method, target, left, client, request_id)
        head = b"".join(parts)
        if head.count(b"\n") != lines or head.count(b"\r") != lines or head.find(b"\0") >= 0:
            raise BadRequestError("A header holds a line break.")
        if self._forwarded:
            told = said.told
            head += (not told and self._told.get((client, host))) or self._tell(client, host, told)
        if request_id:
            head += b"metergate-request-id: %b\r\n" % request_id.encode("ascii")
        return Head(head + self._added, said.length, said.chunked, said.expects)

    def _start(self, method: str, target: bytes) -> bytes:
        """The first line, and the host."""
        if not _TARGET.match(target):
            raise BadRequestError("The path or the query holds characters that must be escaped.")
        start = b"%b %b%b%b" % (method.encode("ascii"), self._prefix, target, self._host)
        if len(target) <= NAME_REMEMBERED:
            if len(self._starts) >= REMEMBERED:
                self._starts.clear()
            self._starts[method, target] = start
        return start

    def _judge(self, name: bytes) -> int:
        if b"_" in name:
            raise BadRequestError(
                "A header's name holds an underscore, which some read as a hyphen; use one."
            )
        if not _TOKEN.match(name):
            raise BadRequestError("A header's name holds characters that no name may hold.")
        verdict = READ.get(name, PASS)
        if verdict == PASS and (name in self._dropped or name.startswith(OWN)):
            verdict = DROP
        if len(name) <= NAME_REMEMBERED and len(self._verdicts) < REMEMBERED:
            self._verdicts[name] = verdict
        return verdict

    def _tell(self, client: Client, host: bytes, told: Mapping[bytes, bytes]) -> bytes:
        """Who asks, by what, for whom. What a client says of it counts only from a proxy that is trusted."""
        (address, scheme), public = client, host
        chain = address
        if told and self._proxies.trust(address):
            chain = ", ".join(self._proxies.chain(told.get(b"x-forwarded-for", b""), address))
            said = told.get(b"x-forwarded-proto", b"")
            scheme = said.decode("ascii") if said in (b"http", b"https") else scheme
            public = told.get(b"x-forwarded-host", host)
        lines = b"x-forwarded-proto: %b\r\n" % scheme.encode("ascii")
        if chain:
            lines += b"x-forwarded-for: %b\r\n" % chain.encode("ascii")
        if _AUTHORITY.match(public):
            lines += b"x-forwarded-host: %b\r\n" % public
        if not told and len(host) <= NAME_REMEMBERED:
            if len(self._told) >= REMEMBERED:
                self._told.clear()
            self._told[client, host] = lines
        return lines


class _Said:
    """What the headers say that do not pass as they are, beside the one that names the host."""

    __slots__ = ("chunked", "expects", "length", "named", "told")

    def __init__(self, headers: Iterable[tuple[int, bytes, bytes]]) -> None:
        self.length: int | None = None
        self.chunked = self.expects = False
        self.named: frozenset[bytes] = frozenset()
        """Headers to leave out because `Connection` names them, itself among them."""
        self.told: Mapping[bytes, bytes] = {}
        """What a proxy in front says."""
        for verdict, name, value in headers:
            if verdict == HOST:
                raise BadRequestError("Send one Host header.")
            if verdict == CONNECTION:
                if value not in ORDINARY:
                    self._name(value)
            elif verdict == TOLD:
                before = self.told.get(name)
                self.told = {**self.told, name: value if before is None else b"%b,%b" % (before, value)}
            else:
                self._frame(verdict, value)

    def _frame(self, verdict: int, value: bytes) -> None:
        if verdict == EXPECTATION:
            self.expects = value.lower() == b"100-continue"
        elif self.chunked or self.length is not None:
            raise BadRequestError("Send one Content-Length or one Transfer-Encoding, and not both.")
        elif verdict == LENGTH:
            if not value.isdigit() or len(value) > LENGTH_DIGITS:
                raise BadRequestError("Send a Content-Length of digits alone.")
            self.length = int(value)
        elif value.lower() != b"chunked":
            raise BadRequestError("Send no Transfer-Encoding but chunked.")
        else:
            self.chunked = True

    def _name(self, value: bytes) -> None:
        found = {token.strip().lower() for token in value.split(b",")} - NEVER_PASS
        if found:
            self.named |= found | {b"connection"}


NOTHING = _Said(())


def framing(length: int) -> bytes:
    """The end of a head whose body has a known length."""
    return b"content-length: %d\r\n\r\n" % length


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
