"""The head of a forwarded request, in one pass over the client's headers.

First everything goes that is not the upstream's business: what concerns the connection only, what the client
named in `Connection`, credentials, and every spelling of what only a proxy may say. Then our own is added, so
that nothing the client sends can take it away.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from metergate.core.policy import Upstream
from metergate.upstream.connection import HOP_BY_HOP
from metergate.upstream.errors import BadRequestError
from metergate.upstream.origin import Origin

Network = IPv4Network | IPv6Network

PASS, DROP, CONNECTION, HOST, TOLD = range(5)

CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
NO_BODY = b"\r\n"
EXPECT = b"expect: 100-continue\r\n"

TOLD_BY_PROXIES = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
DROPPED = HOP_BY_HOP | {
    # Framing is written anew.
    b"content-length", b"expect", b"http2-settings", b"proxy-authorization",
    # They could lead past the rule that was charged.
    b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-original-url", b"x-rewrite-url",
    # Only who is in front of the client can say them.
    b"cf-connecting-ip", b"client-ip", b"forwarded", b"true-client-ip", b"x-client-ip",
    b"x-cluster-client-ip", b"x-original-forwarded-for", b"x-real-ip",
}  # fmt: skip
OWN = (b"metergate-", b"x-metergate-", b"x-forwarded-")
NEVER_PASS = DROPPED | {b"", b"close"}
"""What `Connection` may name without anything to be done."""
ORDINARY = (b"keep-alive", b"close", b"Keep-Alive")
"""What `Connection` says nearly always."""
REMEMBERED = 1024
NAME_REMEMBERED = 64
"""Longer names, of headers and of hosts, are looked at every time."""

_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^`|~-]+\Z")
_TARGET = re.compile(rb"/[!\"$-~]*\Z")
_AUTHORITY = re.compile(rb"[A-Za-z0-9._~:\[\]-]+\Z")


class Client(NamedTuple):
    """Who sent a request, and how it came in."""

    address: str
    """Of the other end of the connection; empty where it has none."""
    scheme: str


class HeadWriter:
    """Writes heads for one upstream. What becomes of a header is decided once for every name."""

    def __init__(
        self,
        origin: Origin,
        upstream: Upstream,
        secret: Iterable[str] = (),
        trusted: Sequence[Network] = (),
    ) -> None:
        self._prefix = origin.prefix
        self._trusted = trusted
        self._forwarded = upstream.forwarded
        own = {name.lower().encode("ascii"): value.encode("latin-1") for name, value in upstream.headers}
        self._host = b" HTTP/1.1\r\nhost: %b\r\n" % own.pop(b"host", origin.authority)
        self._added = b"".join([b"%b: %b\r\n" % pair for pair in own.items()])
        dropped = DROPPED | own.keys() | {name.lower().encode("latin-1") for name in secret}
        self._dropped = dropped if upstream.cookies else dropped | {b"cookie"}
        self._verdicts: dict[bytes, int] = {}
        self._told: dict[tuple[Client, bytes], bytes] = {}
        """What was told of clients that asked a moment ago."""

    def write(
        self,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        client: Client,
        request_id: str = "",
    ) -> bytes:
        """Everything up to how the body is framed. The target is the path that policy saw, and the query."""
        if not _TARGET.match(target):
            raise BadRequestError("The path or the query holds characters that must be escaped.")
        parts = [method.encode("ascii"), b" ", self._prefix, target, self._host]
        lines = 2
        verdicts = self._verdicts
        aside: list[tuple[int, bytes, bytes]] = []
        for name, value in headers:
            verdict = verdicts.get(name)
            if verdict is None:
                verdict = self._judge(name)
            if verdict == PASS:
                parts += (name, b": ", value, b"\r\n")
                lines += 1
            elif verdict != DROP:
                aside.append((verdict, name, value))
        named, host, told = _read(aside)
        if named:
            left = [pair for pair in headers if pair[0] not in named]
            return self.write(method, target, left, client, request_id)
        head = b"".join(parts)
        if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
            raise BadRequestError("A header holds a line break.")
        if self._forwarded:
            head += (not told and self._told.get((client, host))) or self._tell(client, host, told)
        if request_id:
            head += b"metergate-request-id: %b\r\n" % request_id.encode("ascii")
        return head + self._added

    def _judge(self, name: bytes) -> int:
        if b"_" in name:
            raise BadRequestError(
                "A header's name holds an underscore, which some read as a hyphen; use one."
            )
        if not _TOKEN.match(name):
            raise BadRequestError("A header's name holds characters that no name may hold.")
        if name == b"connection":
            verdict = CONNECTION
        elif name == b"host":
            verdict = HOST
        elif name in TOLD_BY_PROXIES:
            verdict = TOLD
        else:
            verdict = DROP if name in self._dropped or name.startswith(OWN) else PASS
        if len(name) <= NAME_REMEMBERED and len(self._verdicts) < REMEMBERED:
            self._verdicts[name] = verdict
        return verdict

    def _tell(self, client: Client, host: bytes, told: Mapping[bytes, bytes]) -> bytes:
        """Who asks, by what, for whom. What a client says of it counts only from a proxy that is trusted."""
        chain, scheme, public = client.address, client.scheme, host
        if told and self._trusts(client.address):
            chain = self._chain(told.get(b"x-forwarded-for", b""), client.address)
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

    def _chain(self, said: bytes, address: str) -> str:
        """The proxies that are trusted, and the one before them; what that one says is hearsay."""
        chain = [address]
        for each in reversed(said.decode("latin-1").split(",")):
            if not self._trusts(chain[0]) or not _is_address(each.strip()):
                break
            chain.insert(0, each.strip())
        return ", ".join(chain)

    def _trusts(self, address: str) -> bool:
        if not self._trusted or not _is_address(address):
            return False
        found = ip_address(address)
        return any(found in network for network in self._trusted)


def framing(length: int) -> bytes:
    """The end of a head whose body has a known length."""
    return b"content-length: %d\r\n\r\n" % length


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def _read(aside: Iterable[tuple[int, bytes, bytes]]) -> tuple[set[bytes], bytes, Mapping[bytes, bytes]]:
    """The headers to leave out because `Connection` names them, the host, and what a proxy in front said."""
    named: set[bytes] = set()
    host = b""
    told: dict[bytes, bytes] = {}
    for verdict, name, value in aside:
        if verdict == HOST:
            if host:
                raise BadRequestError("Send one Host header.")
            host = value
        elif verdict == TOLD:
            told[name] = b"%b,%b" % (told[name], value) if name in told else value
        elif value not in ORDINARY:
            named |= {token.strip().lower() for token in value.split(b",")} - NEVER_PASS
    if named:
        named.add(b"connection")
    return named, host, told


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
