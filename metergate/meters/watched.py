"""The parts of an answer that may tell what it used.

Of a JSON body that is all of it, of server-sent events those that name what is looked for. What passes is
looked at once and kept within bounds, whatever an upstream sends.
"""

import zlib

from metergate.meters.counter import Headers
from metergate.meters.encodings import Unpacking, Windows, unpacked, windows
from metergate.meters.events import Events, around, data

BODY_MAX = 8 * 1024 * 1024
"""The bytes of a body that are kept and looked into, also once it is unpacked."""
EVENT_MAX = 1024 * 1024
"""The same of one event."""
TAIL = 64 * 1024
"""What is kept of more than that: usage stands near the end."""

SAMPLED = 32
EVERY = 15
"""Of a stream the first events are sampled, and of what comes later one piece in sixteen."""

STREAM = b"text/event-stream"


class Watched:
    def __init__(self, marker: bytes) -> None:
        self.first = b""
        """The first event with the marker in it."""
        self.last = b""
        """The last of them."""
        self.latest = b""
        """The events that came last, whatever is in them."""
        self.size = 0
        """The bytes of the body, as they were before they were packed."""
        self._marker = marker
        self._windows: Windows | None = ()
        self._unpacking: Unpacking | None = None
        self._body: list[bytes] = []
        self._kept = 0
        self._pieces = 0
        self._cut = False
        self._events: Events | None = None

    @property
    def streams(self) -> bool:
        """Whether the answer is server-sent events."""
        return self._events is not None

    def start(self, headers: Headers) -> None:
        self._windows = windows(headers)
        if is_stream(headers):
            self._events = Events(EVENT_MAX, TAIL)
            if self._windows:
                self._unpacking = Unpacking(self._windows)

    def feed(self, chunk: bytes) -> None:
        if self._unpacking is not None:
            for piece in self._unpacking.pieces(chunk):
                self.see(piece)
        else:
            self.see(chunk)

    def see(self, chunk: bytes) -> None:
        """A piece of the body, unpacked where it is a stream."""
        events = self._events
        if events is None:
            self._keep(chunk)
            return
        self.size += len(chunk)
        whole = events.feed(chunk)
        if whole:
            self._see_events(whole)

    def _see_events(self, events: bytes) -> None:
        self._pieces += 1
        if self._pieces <= SAMPLED or not self._pieces & EVERY:
            self.sample(events)
        self.latest = events
        if self._marker in events and self.interesting(events):
            self._look(events)

    def sample(self, events: bytes) -> None:
        """Some of the events of a stream that are looked at more closely."""

    def interesting(self, events: bytes) -> bool:
        """Whether events with the marker are worth keeping."""
        return True

    def wanted(self, event: bytes) -> bool:
        """Whether that one of them is."""
        return self.interesting(event)

    def body(self) -> bytes:
        """The JSON body; empty when it is too long, packed in an unknown way, or cut off."""
        if self._windows is None or self._cut:
            return b""
        try:
            return unpacked(b"".join(self._body), self._windows, BODY_MAX)
        except (ValueError, zlib.error):
            return b""

    def tail(self) -> bytes:
        """The end of a JSON body that was too long to keep."""
        return b"".join(self._body)[-TAIL:] if self._cut and self._windows == () else b""

    def finish(self) -> None:
        """The stream is over; its last event may lack an end."""
        if self._events is not None and (left := self._events.take()):
            self.sample(left)
            self._look(left)

    def last_data(self) -> bytes:
        """What the last of the kept events carries."""
        return data(self.last) or self.last

    def _look(self, events: bytes) -> None:
        self.last = self._nearest(events, forward=False) or self.last
        self.first = self.first or self._nearest(events, forward=True)

    def _nearest(self, events: bytes, *, forward: bool) -> bytes:
        """The first event that is wanted, or the last one."""
        begin, end = 0, len(events)
        search = events.find if forward else events.rfind
        while (place := search(self._marker, begin, end)) >= 0:
            bounds = around(events, place)
            event = events[slice(*bounds)]
            if self.wanted(event):
                return event
            begin, end = (bounds[1], end) if forward else (begin, bounds[0])
        return b""

    def _keep(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._kept += len(chunk)
        self._body.append(chunk)
        if self._kept > (2 * TAIL if self._cut else BODY_MAX):
            self._body[:] = [b"".join(self._body)[-TAIL:]]
            self._kept = TAIL
            self._cut = True


def is_stream(headers: Headers) -> bool:
    """Whether an answer with these headers is server-sent events."""
    kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    return kind.strip().lower().startswith(STREAM)
