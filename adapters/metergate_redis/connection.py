"""One connection to a server: requests go out as bytes, and replies come back in their order.

Nobody who stops waiting disturbs the others: a reply belongs to its place in the queue, and a connection on
which one reply is late is given up with all that wait on it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import hiredis

Parts = tuple[bytes | str | int, ...]
NO_ANSWER = "it sends what is no answer to what it was asked"
MISFITS = (AssertionError, AttributeError, LookupError, StopIteration, TypeError, ValueError)
"""What a reply of another form than expected leads to: whoever waits for it must hear of that."""


class Receiver(Protocol):
    """Who waits for a reply."""

    def answered(self, reply: object) -> None: ...

    def failed(self, why: str) -> None: ...


class Connection(asyncio.Protocol):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadline_s: float, lost: Callable[["Connection", str], None]
    ) -> None:
        self._loop = loop
        self._deadline_s = deadline_s
        self._lost = lost
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[float, Receiver]] = deque()
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.open = False
        self.late = False
        """Whether it was given up because it did not answer in time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.open = True

    def send(self, request: Parts, receiver: Receiver) -> None:
        """Send one command. The receiver hears of it, later and exactly once."""
        packed = hiredis.pack_command(request)  # type: ignore[arg-type]  # it takes tuples of any length
        self.send_packed(packed, receiver)

    def send_packed(self, request: bytes, receiver: Receiver) -> None:
        if self._transport is None or not self.open:
            self._loop.call_soon(receiver.failed, "the connection is closed")
            return
        due = self._loop.time() + self._deadline_s
        self._waiting.append((due, receiver))
        if self._watch is None:
            self._watch = self._loop.call_at(due, self._look)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            while self.open and (reply := reader.gets()) is not False:
                if not waiting and isinstance(reply, hiredis.ReplyError):
                    self.close(str(reply))  # the reason why it hangs up
                    return
                receiver = waiting.popleft()[1]
                try:
                    receiver.answered(reply)
                except MISFITS:
                    receiver.failed(NO_ANSWER)
                    self.close(NO_ANSWER)
                    return
        except (hiredis.ProtocolError, *MISFITS):
            self.close(NO_ANSWER)

    def connection_lost(self, error: Exception | None) -> None:
        self.close(str(error) if error else "it closed the connection")

    def close(self, why: str) -> None:
        """Give the connection up; everybody who waits hears why."""
        if not self.open:
            return
        self.open = False
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for _, receiver in waiting:
            receiver.failed(why)
        self._lost(self, why)

    def _look(self) -> None:
        """One timer for all that wait: the oldest is due first."""
        self._watch = None
        if not self._waiting:
            return
        due = self._waiting[0][0]
        if due <= self._loop.time():
            self.late = True
            self.close(f"it did not answer within {self._deadline_s:g} s")
        else:
            self._watch = self._loop.call_at(due, self._look)
