"""What the gate reads from the headers of a request, on raw bytes."""

from collections.abc import Iterable
from typing import NamedTuple

from metergate.asgi.types import Headers
from metergate.core.keys import LENGTH_MAX
from metergate.gate.members import NOBODY, Member

OWN = b"metergate-"
OVERRIDES = frozenset({b"x-http-method", b"x-http-method-override", b"x-method-override"})
"""They ask the app for another method than the one that was charged."""
BEARER = b"bearer "

IDEMPOTENCY = b"idempotency-key"
ANTHROPIC = b"anthropic-version"
LENGTH = b"content-length"
FRAMING = b"transfer-encoding"
LOOKED_AT = (IDEMPOTENCY, ANTHROPIC)
"""Headers beside the keys that make a request a special one."""
NAMES_REMEMBERED = 1024
"""Names of headers; a stranger may send any number of them."""


class Seen(NamedTuple):
    keys: tuple[str, ...]
    idempotency: tuple[bytes, ...]
    anthropic: bool
    forged: bool
    """Whether the client sent headers that no client may set."""
    key_header: tuple[bytes, bytes] | None
    """The one header with a key, when there is just one and nothing else is special."""


class Lanes(dict[bytes, dict[bytes, Member] | None]):
    """Where the name of a header leads: to the callers by its value, or to nothing that matters.

    A name that only metergate may send leads to nobody, so that its request is looked at closer.
    """

    def __missing__(self, name: bytes) -> dict[bytes, Member] | None:
        lane: dict[bytes, Member] | None = {} if is_own(name) else None
        if len(self) < NAMES_REMEMBERED:
            self[name] = lane
        return lane

    def who(self, headers: Iterable[tuple[bytes, bytes]]) -> Member:
        """The caller that the headers of a request show; nobody where they need a closer look."""
        member = NOBODY
        for name, value in headers:
            lane = self[name]
            if lane is not None:
                known = lane.get(value)
                if known is None or member is not NOBODY:
                    return NOBODY
                member = known
        return member


class HeaderReader:
    def __init__(self, key_headers: Iterable[str]) -> None:
        self.key_names = frozenset(name.lower().encode("latin-1") for name in key_headers)

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> Seen:
        keys: list[str] = []
        shown: list[tuple[bytes, bytes]] = []
        idempotency: list[bytes] = []
        anthropic = forged = False
        for name, value in headers:
            if name in self.key_names:
                shown.append((name, value))
                key = _key(name, value)
                if key and key not in keys:
                    keys.append(key)
            elif name == IDEMPOTENCY:
                idempotency.append(value)
            elif name == ANTHROPIC:
                anthropic = True
            elif is_own(name):
                forged = True
        return Seen(tuple(keys), tuple(idempotency), anthropic, forged, shown[0] if len(shown) == 1 else None)


def is_own(name: bytes) -> bool:
    """Whether no client may set the header, however it is spelled."""
    plain = name[:23].lower().replace(b"_", b"-")
    return plain[:10] == OWN or plain in OVERRIDES


def without_own(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(name, value) for name, value in headers if not is_own(name)]


def _key(name: bytes, value: bytes) -> str:
    """The key in a header; of Authorization only the Bearer form is ours, other schemes are the app's."""
    if name == b"authorization":
        if value[:7].lower() != BEARER:
            return ""
        value = value[7:]
    # What is too long to be a key is refused as well when it is cut, and costs less.
    return value.strip()[: LENGTH_MAX + 1].decode("latin-1")


def preflight_for(method: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The method that a CORS preflight asks about, without a key and free; empty for other requests.

    Browsers send no body with it, and nobody else has one passed on for nothing.
    """
    if method != "OPTIONS":
        return ""
    found = dict(headers)
    if b"origin" not in found or found.get(LENGTH, b"0") != b"0" or FRAMING in found:
        return ""
    return found.get(b"access-control-request-method", b"").decode("latin-1")
