"""The headers of an answer on their way to the client: an upstream does not speak in our name."""

from collections.abc import Collection

from metergate.upstream.names import NAME_REMEMBERED, REMEMBERED
from metergate.upstream.origin import Origin
from metergate.upstream.response import Headers

PASS, DROP, PLACE = range(3)
DROPPED = frozenset({b"alt-svc", b"sec-websocket-accept", b"sec-websocket-protocol"})
"""The upstream's other doors are not ours, and its handshakes are with us."""
OWN = b"metergate-"


class Verdicts(dict[bytes, int]):
    """What becomes of a header, by its name."""

    def __init__(self, dropped: Collection[bytes]) -> None:
        self._dropped = dropped

    def __missing__(self, name: bytes) -> int:
        verdict = PLACE if name == b"location" else PASS
        if name in self._dropped or name.replace(b"_", b"-").startswith(OWN):
            verdict = DROP
        if len(name) <= NAME_REMEMBERED and len(self) < REMEMBERED:
            self[name] = verdict
        return verdict


class AnswerReader:
    """Reads the answers of one upstream. What becomes of a header is decided once for every name."""

    def __init__(self, origin: Origin, *, cookies: bool) -> None:
        self._base = origin.base
        self._prefix = origin.prefix
        self._verdicts = Verdicts(DROPPED if cookies else DROPPED | {b"set-cookie"})

    def read(self, headers: Headers) -> Headers:
        verdicts = self._verdicts
        found = [verdicts[name] for name, _ in headers]
        if not any(found):
            return headers  # all pass, as nearly always
        return [
            (name, self._ours(value)) if verdict == PLACE else (name, value)
            for verdict, (name, value) in zip(found, headers, strict=True)
            if verdict != DROP
        ]

    def _ours(self, place: bytes) -> bytes:
        """An address of the upstream as a path of ours; an address elsewhere stays what it is."""
        base = len(self._base)
        path = place[base:] if place[:base].lower() == self._base else place
        inside = path[len(self._prefix) :]
        # Two slashes, of either sort, begin the name of another host.
        here = inside[:1] == b"/" and inside[1:2] not in (b"/", b"\\")
        return inside if here and path.startswith(self._prefix) else place
