"""The headers of an answer on their way to the client: an upstream does not speak in our name."""

from metergate.upstream.names import NAME_REMEMBERED, REMEMBERED
from metergate.upstream.origin import Origin
from metergate.upstream.response import Headers

PASS, DROP, PLACE = range(3)
DROPPED = frozenset({b"alt-svc", b"sec-websocket-accept", b"sec-websocket-protocol"})
"""The upstream's other doors are not ours, and its handshakes are with us."""
OWN = b"metergate-"


class AnswerReader:
    """Reads the answers of one upstream. What becomes of a header is decided once for every name."""

    def __init__(self, origin: Origin, *, cookies: bool) -> None:
        self._base = origin.base
        self._prefix = origin.prefix
        self._dropped = DROPPED if cookies else DROPPED | {b"set-cookie"}
        self._verdicts: dict[bytes, int] = {}

    def read(self, headers: Headers) -> Headers:
        verdicts = self._verdicts
        found = []
        for pair in headers:
            try:
                verdict = verdicts[pair[0]]
            except KeyError:
                verdict = self._judge(pair[0])
            if verdict == PASS:
                found.append(pair)
            elif verdict == PLACE:
                found.append((pair[0], self._ours(pair[1])))
        return found

    def _judge(self, name: bytes) -> int:
        if name == b"location":
            verdict = PLACE
        else:
            verdict = DROP if name in self._dropped or name.replace(b"_", b"-").startswith(OWN) else PASS
        if len(name) <= NAME_REMEMBERED and len(self._verdicts) < REMEMBERED:
            self._verdicts[name] = verdict
        return verdict

    def _ours(self, place: bytes) -> bytes:
        """An address of the upstream as a path of ours; an address elsewhere stays what it is."""
        base = len(self._base)
        path = place[base:] if place[:base].lower() == self._base else place
        inside = path[len(self._prefix) :]
        return inside if path.startswith(self._prefix) and inside[:1] == b"/" else place
