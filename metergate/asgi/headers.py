"""What the gate reads from the headers of a request, in one pass over raw bytes."""

from collections.abc import Iterable
from typing import NamedTuple

from metergate.asgi.types import Headers

OWN = b"metergate-"
BEARER = b"bearer "


class Seen(NamedTuple):
    keys: tuple[str, ...]
    idempotency: tuple[bytes, ...]
    anthropic: bool
    forged: bool
    """Whether the client sent headers that only metergate may set."""


class HeaderReader:
    def __init__(self, key_headers: Iterable[str]) -> None:
        self._keys = frozenset(name.lower().encode("latin-1") for name in key_headers)
        self._wanted = self._keys | {b"idempotency-key", b"anthropic-version"}

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> Seen:
        keys: list[str] = []
        idempotency: list[bytes] = []
        anthropic = forged = False
        wanted = self._wanted
        for name, value in headers:
            if name in wanted:
                if name in self._keys:
                    key = _key(name, value)
                    if key and key not in keys:
                        keys.append(key)
                elif name == b"idempotency-key":
                    idempotency.append(value)
                else:
                    anthropic = True
            elif name[:10] == OWN:
                forged = True
        return Seen(tuple(keys), tuple(idempotency), anthropic, forged)


def _key(name: bytes, value: bytes) -> str:
    """The key in a header; of Authorization only the Bearer form is ours, other schemes are the app's."""
    if name == b"authorization":
        if value[:7].lower() != BEARER:
            return ""
        value = value[7:]
    return value.strip().decode("latin-1")


def without_own(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers without those that only metergate may set, however they are spelled."""
    return [(name, value) for name, value in headers if name[:10].lower().replace(b"_", b"-") != OWN]


def is_preflight(method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """A CORS preflight carries no key and costs nothing."""
    if method != "OPTIONS":
        return False
    names = {name for name, _ in headers}
    return b"origin" in names and b"access-control-request-method" in names
