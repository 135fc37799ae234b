"""One request and its answer, between uvicorn's protocol and the app."""

import asyncio
import http
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

import msgspec

from metergate.upstream.names import NAME_REMEMBERED, REMEMBERED

Message = MutableMapping[str, Any]
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

BUFFERED_MAX = 65_536
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LENGTH, DATE = b"\r\ncontent-length: ", b"\r\ndate: "
begins: dict[bytes, bytes] = {}
"""What the line of a header begins with, for those that are written as they come."""
NO_CONTENT = 204
BODYLESS = frozenset({NO_CONTENT, 304})


def status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %b" % (status, phrase.encode())


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


class Cycle(msgspec.Struct, eq=False):
    """A struct, because one is made for every request."""

    line: Line
    loop: asyncio.AbstractEventLoop
    scope: MutableMapping[str, Any]
    expects: bool
    """Whether the client waits to be asked for the body."""
    modern: bool
    """Whether the client knows chunks."""
    keep_alive: bool
    more_body: bool = True
    """Whether more of the request has to come."""
    size: int = 0
    """How much of the body waits for the app."""
    body: list[bytes] = []
    body_given: bool = False
    waiter: asyncio.Future[None] | None = None
    disconnected: bool = False
    task: asyncio.Task[None] | None = None
    started: bool = False
    complete: bool = False
    chunked: bool = False
    bodyless: bool = False
    trailers: bool = False
    due: int | None = None
    """How many bytes of the answer are due, where its head said how many there are."""
    head: bytes = b""
    """The head of the answer, for as long as it waits for the first byte of its body."""

    # -- by the connection ---------------------------------------------------------------------------------

    def put(self, chunk: bytes) -> None:
        self.body.append(chunk)
        self.size += len(chunk)
        self.wake()

    @property
    def told(self) -> bool:
        """Whether the client has seen something of the answer."""
        return self.started and not self.head

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
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
            self.line.broken(error)
            if not isinstance(error, Exception):
                raise
        else:
            if not self.complete and not self.disconnected:
                self.line.broken(None)
        finally:
            if self.task is not None:
                self.line.over(self.task)

    # -- by the app ----------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        if self.expects:
            self.expects = False
            self.line.transport.write(CONTINUE)
        while not (self.disconnected or self.complete):
            if self.body or not (self.more_body or self.body_given):
                return self._part()
            self.line.read_on()
            self.waiter = waiter = self.loop.create_future()
            await waiter
        return {"type": "http.disconnect"}

    def _part(self) -> Message:
        chunks = self.body
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.size = 0
        self.body_given = not self.more_body
        self.line.read_on()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        blocked = self.line.blocked
        if blocked is not None and not self.disconnected:
            await blocked
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.complete:
            self._write_body(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start" and not self.started:
            self._start(message)
        elif kind == "http.response.trailers" and self.trailers:
            self._write_trailers(message)
        else:
            raise RuntimeError(f"The app sent {kind} where it has no place.")

    def _start(self, message: Message) -> None:
        status, headers = message["status"], message.get("headers", ())
        if type(headers) is not list:
            headers = list(headers)  # some apps make them as they are asked for, and only once
        if status == NO_CONTENT:  # whoever believes in a length would wait for what never comes
            headers = [pair for pair in headers if pair[0].lower() != b"content-length"]
        try:
            lines = [begins[name] + value for name, value in headers]
        except KeyError:
            lines = self._lines(headers)
        head = b"\r\n".join([STATUS_LINES[status], *lines, b""])
        if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
            raise RuntimeError("The app sent a header that holds a line break.")
        at = head.find(LENGTH)
        if at >= 0:
            self.due = int(head[at + len(LENGTH) : head.find(b"\r", at + len(LENGTH))])
        self.bodyless = status in BODYLESS or self.scope["method"] == "HEAD"
        self.head = head + self._framing() + (b"\r\n" if DATE in head else self.line.date())
        self.trailers = self.chunked and bool(message.get("trailers"))
        self.started = True
        self.line.flush_soon(self)

    def _lines(self, headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """The lines of headers among which one is new, or ours to write."""
        lines = []
        for name, value in headers:
            low = name.lower()
            if low == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
            elif low != b"transfer-encoding":
                begin = low + b": "
                lines.append(begin + value)
                if len(name) <= NAME_REMEMBERED and len(begins) < REMEMBERED:
                    begins[name] = begin
        return lines

    def _framing(self) -> bytes:
        """How the body ends. A client that was not asked for its own may send it or not: nobody can tell."""
        framing = b""
        if self.due is None and not self.bodyless:
            self.chunked = self.modern
            framing = b"transfer-encoding: chunked\r\n" if self.modern else b""
            self.keep_alive = self.keep_alive and self.modern
        self.keep_alive = self.keep_alive and not self.expects
        return framing if self.keep_alive else framing + b"connection: close\r\n"

    def flush(self) -> None:
        """Let the head go by itself: the body takes its time."""
        head, self.head = self.head, b""
        if head and not self.disconnected:
            self.line.transport.write(head)

    def _write_body(self, body: bytes, *, more: bool) -> None:
        if self.due is not None and not self.bodyless:
            self._count(self.due - len(body), more=more)
        data, self.head = self.head, b""
        if self.chunked:
            if body:
                data += b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                data += b"0\r\n" if self.trailers else b"0\r\n\r\n"
        elif not self.bodyless:
            data = data + body if data else body
        if data:
            self.line.transport.write(data)
        if not more and not self.trailers:
            self._finish()

    def _count(self, due: int, *, more: bool) -> None:
        self.due = due
        if due < 0 or (due and not more):
            raise RuntimeError("The app sent a body of another length than its head says.")

    def _write_trailers(self, message: Message) -> None:
        lines = [b"%b: %b\r\n" % pair for pair in message.get("headers", ())]
        data = b"".join(lines)
        if data.count(b"\n") != len(lines) or data.count(b"\r") != len(lines):
            raise RuntimeError("The app sent a trailer that holds a line break.")
        self.line.transport.write(data)
        if not message.get("more_trailers", False):
            self.line.transport.write(b"\r\n")
            self.trailers = False
            self._finish()

    def _finish(self) -> None:
        self.complete = True
        self.wake()
        self.line.answered()
