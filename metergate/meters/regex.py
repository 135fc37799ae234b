"""A number in the text of an answer, found by a regular expression near its end."""

import re
from functools import lru_cache

from metergate.core.money import UNITS_MAX
from metergate.meters.counter import Counter, Headers, believed
from metergate.meters.encodings import Unpacking, windows
from metergate.meters.patterns import READS, reads

TAIL = READS[0]
"""How far from the end the number may stand at most."""
GROUPS_MAX = 1


class Regex(Counter):
    """The last match of the pattern: its group, or all of it where it has none.

    What begins where the kept end of a long body does is not believed: half of the number may be gone.
    """

    def __init__(self, pattern: str, most: int = UNITS_MAX) -> None:
        self._pattern = compiled(pattern)
        self._reads = reads(pattern)
        self._most = most
        self._kept: list[bytes] = []
        self._size = 0
        self._cut = False
        self._readable = True
        self._unpacking: Unpacking | None = None

    def start(self, status: int, headers: Headers) -> None:
        found = windows(headers)
        self._readable = found is not None
        self._unpacking = Unpacking(found) if found else None

    def feed(self, chunk: bytes) -> None:
        for piece in (chunk,) if self._unpacking is None else self._unpacking.pieces(chunk):
            self._kept.append(piece)
            self._size += len(piece)
            if self._size > 2 * TAIL:
                self._kept[:] = [self._tail()]
                self._size = TAIL
                self._cut = True

    def finish(self) -> int | None:
        cut = self._cut or self._size > self._reads
        tail = self._tail()[-self._reads :]
        matches = [match for match in self._pattern.finditer(tail) if match.start() or not cut]
        if not matches or not self._readable:
            return None
        found = matches[-1][self._pattern.groups] or b""
        return believed(found.decode("latin-1"), self._most)

    def _tail(self) -> bytes:
        return b"".join(self._kept)[-TAIL:]


@lru_cache(maxsize=64)
def compiled(pattern: str) -> re.Pattern[bytes]:
    """The pattern; ValueError when it is none, or has more than one group."""
    try:
        found = re.compile(pattern.encode())
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"Write a regular expression; this one has a mistake: {error}.") from None
    reads(pattern)
    if found.groups > GROUPS_MAX:
        raise ValueError("Write a regular expression with one group, around the number.")
    return found
