"""One request and its answer, between uvicorn's protocol and the app."""

import asyncio
import http
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from metergate.upstream.names import lower

Message = MutableMapping[str, Any]
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

BUFFERED_MAX = 65_536
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"date", b"trailer"})
BODYLESS = frozenset({204, 304})


def status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())


STATUS_LINES = {status: status_line(status) for status in range(200, 600)}


class Line(Protocol):
    """The connection, as far as a cycle knows it."""

    transport: asyncio.Transport
    blocked: asyncio.Future[None] | None

    def date(self) -> bytes: ...

    def flush_soon(self, cycle: "Cycle") -> None: ...

    def read_on(self) -> None: ...

    def answered(self) -> None: ...

    def over(self, task: "asyncio.Task[None]") -> None: ...

    def broken(self, error: BaseException | None) -> None: ...


class Cycle:
    __slots__ = (
        "_body", "_body_given", "_bodyless", "_chunked", "_due", "_head", "_line", "_loop", "_modern",
        "_trailers", "_waiter", "complete", "disconnected", "expects", "keep_alive", "more_body", "scope",
        "size", "started", "task",
    )  # fmt: skip

    def __init__(
        self,
        line: Line,
        loop: asyncio.AbstractEventLoop,
        scope: MutableMapping[str, Any],
        *,
        expects: bool,
        modern: bool,
        keep_alive: bool,
    ) -> None:
        self._line = line
        self._loop = loop
        self.scope = scope
        self.expects = expects
        """Whether the client waits to be asked for the body."""
        self._modern = modern
        """Whether the client knows chunks."""
        self.keep_alive = keep_alive
        self.more_body = True
        """Whether more of the request has to come."""
        self.size = 0
        """How much of the body waits for the app."""
        self._body: list[bytes] = []
        self._body_given = False
        self._waiter: asyncio.Future[None] | None = None
        self.disconnected = False
        self.task: asyncio.Task[None] | None = None
        self.started = self.complete = False
        self._chunked = self._bodyless = self._trailers = False
        self._due: int | None = None
        """How many bytes of the answer are due, where its head said how many there are."""
        self._head = b""
        """The head of the answer, for as long as it waits for the first byte of its body."""

    # -- by the connection ---------------------------------------------------------------------------------

    def put(self, chunk: bytes) -> None:
        self._body.append(chunk)
        self.size += len(chunk)
        self.wake()

    @property
    def told(self) -> bool:
        """Whether the client has seen something of the answer."""
        return self.started and not self._head

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def disconnect(self) -> None:
        """Nobody listens any more."""
        self.disconnected = True
        self.wake()

    async def run(self, app: App) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            self._line.broken(error)
            if not isinstance(error, Exception):
                raise
        else:
            if not self.complete and not self.disconnected:
                self._line.broken(None)
        finally:
            if self.task is not None:
                self._line.over(self.task)

    # -- by the app ----------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        if self.expects:
            self.expects = False
            self._line.transport.write(CONTINUE)
        while not (self.disconnected or self.complete):
            if self._body or not (self.more_body or self._body_given):
                return self._part()
            self._line.read_on()
            self._waiter = waiter = self._loop.create_future()
            await waiter
        return {"type": "http.disconnect"}

    def _part(self) -> Message:
        chunks = self._body
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.size = 0
        self._body_given = not self.more_body
        self._line.read_on()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        blocked = self._line.blocked
        if blocked is not None and not self.disconnected:
            await blocked
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.complete:
            self._write_body(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start" and not self.started:
            self._start(message)
        elif kind == "http.response.trailers" and self._trailers:
            self._write_trailers(message)
        else:
            raise RuntimeError(f"The app sent {kind} where it has no place.")

    def _start(self, message: Message) -> None:
        self.started = True
        status = message["status"]
        parts, lines, dated = [STATUS_LINES[status]], 1, False
        for name, value in message.get("headers", ()):
            low = lower[name]
            if low in FRAMING:
                if low == b"connection":
                    self.keep_alive = self.keep_alive and b"close" not in value.lower()
                if low in (b"connection", b"transfer-encoding"):
                    continue  # written anew
                if low == b"content-length":
                    self._due = int(value)
                dated = dated or low == b"date"
            parts += (low, b": ", value, b"\r\n")
            lines += 1
        head = b"".join(parts)
        if head.count(b"\n") != lines or head.count(b"\r") != lines:
            raise RuntimeError("The app sent a header that holds a line break.")
        self._bodyless = status in BODYLESS or self.scope["method"] == "HEAD"
        self._head = head + self._framing() + (b"\r\n" if dated else self._line.date())
        self._trailers = self._chunked and bool(message.get("trailers"))
        self._line.flush_soon(self)

    def _framing(self) -> bytes:
        """How the body ends. A client that was not asked for its own may send it or not: nobody can tell."""
        framing = b""
        if self._due is None and not self._bodyless:
            self._chunked = self._modern
            framing = b"transfer-encoding: chunked\r\n" if self._modern else b""
            self.keep_alive = self.keep_alive and self._modern
        self.keep_alive = self.keep_alive and not self.expects
        return framing if self.keep_alive else framing + b"connection: close\r\n"

    def flush(self) -> None:
        """Let the head go by itself: the body takes its time."""
        head, self._head = self._head, b""
        if head and not self.disconnected:
            self._line.transport.write(head)

    def _write_body(self, body: bytes, *, more: bool) -> None:
        data, self._head = self._head, b""
        if self._chunked:
            if body:
                data += b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                data += b"0\r\n" if self._trailers else b"0\r\n\r\n"
        elif not self._bodyless:
            data = data + body if data else body
            self._count(len(body), more=more)
        if data:
            self._line.transport.write(data)
        if not more and not self._trailers:
            self._finish()

    def _count(self, size: int, *, more: bool) -> None:
        if self._due is None:
            return
        self._due -= size
        if self._due < 0 or (self._due and not more):
            raise RuntimeError("The app sent a body of another length than its head says.")

    def _write_trailers(self, message: Message) -> None:
        lines = [b"%b: %b\r\n" % pair for pair in message.get("headers", ())]
        data = b"".join(lines)
        if data.count(b"\n") != len(lines) or data.count(b"\r") != len(lines):
            raise RuntimeError("The app sent a trailer that holds a line break.")
        self._line.transport.write(data)
        if not message.get("more_trailers", False):
            self._line.transport.write(b"\r\n")
            self._trailers = False
            self._finish()

    def _finish(self) -> None:
        self.complete = True
        self.wake()
        self._line.answered()
