"""Server-sent events in a stream that comes in pieces of any size.

An event ends with an empty line, and lines end with LF, CRLF or CR. A chunk that ends where an event does, as
most do, costs one comparison.
"""

import re

ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
"""The same without what belongs to the line before."""
_SPLIT = re.compile(rb"(?<=\n\n)|(?<=\n\r\n)|(?<=\r\r)")
BOM = b"\xef\xbb\xbf"
_FIELD = re.compile(rb"(?:event|id|retry)?:")
"""How lines begin that carry nothing: comments, and the other fields."""
SEAM = 3
"""The most bytes of an end that can stand before the piece that completes it."""


class Events:
    """Gives the events as they are complete, and keeps the one that is open.

    Of an open event that outgrows `most` bytes only the last `tail` bytes are kept.
    """

    def __init__(self, most: int, tail: int) -> None:
        self._most = most
        self._tail = tail
        self.size = 0
        """The bytes of the open event."""
        self._open: list[bytes] = []
        self._seam = b""

    def feed(self, chunk: bytes) -> bytes:
        """The events that end in this chunk, one behind the other; empty when none does."""
        if not self._open and chunk.endswith(ENDS):
            return chunk
        end = last_end(self._seam, chunk)
        if end == 0:
            self._keep(chunk)
            return b""
        whole = self.take() + chunk[:end]
        if end < len(chunk):
            self._keep(chunk[end:])
        return whole

    def take(self) -> bytes:
        """What there is of the open event; it is kept no longer."""
        taken = b"".join(self._open)
        self._open.clear()
        self.size = 0
        self._seam = b""
        return taken

    def _keep(self, chunk: bytes) -> None:
        self._open.append(chunk)
        self.size += len(chunk)
        self._seam = (self._seam + chunk)[-SEAM:]
        if self.size > self._most:
            self._open[:] = [b"".join(self._open)[-self._tail :]]
            self.size = self._tail


def last_end(seam: bytes, chunk: bytes) -> int:
    """Behind the last event that ends in a chunk which came after the seam; 0 where none does."""
    joined = seam + chunk
    return max(0, _end_before(joined, len(joined)) - len(seam))


def around(events: bytes, place: int) -> tuple[int, int]:
    """Where the event begins and ends that has a byte at the place."""
    ends = [events.find(end, place) + len(end) for end in _ENDS if end in events[place:]]
    return _end_before(events, place), min(ends, default=len(events))


def _end_before(events: bytes, place: int) -> int:
    """Behind the last end before the place; 0 where there is none."""
    found = [events.rfind(end, 0, place) + len(end) for end in _ENDS if end in events[:place]]
    return max(found, default=0)


def is_one(events: bytes) -> bool:
    """Whether it is a single event, with the ends that most servers write; it may be one where this is no."""
    return events.find(b"\n\n") == len(events) - 2 and b"\r" not in events


def split(events: bytes) -> list[bytes]:
    """Whole events, each with its end."""
    return [event for event in _SPLIT.split(events) if event]


def data(event: bytes) -> bytes:
    """What an event carries: its data lines. A stream may begin with a mark of its byte order."""
    event = event.removeprefix(BOM)
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def carried(event: bytes) -> bytes:
    """The same of an event that may have lost its beginning, and with it the name of the line."""
    return data(event) or (b"" if _FIELD.match(event) else event)
