"""One response on its way: filled by a connection, emptied by whoever asked."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

Headers = list[tuple[bytes, bytes]]

BUFFERED_MAX = 65_536
"""With more bytes than this waiting to be read, nothing more is taken from the upstream."""


class Line(Protocol):
    """The connection, as far as a response knows it."""

    until: float

    def write(self, data: bytes) -> None: ...

    def sent(self) -> None: ...

    def room(self) -> Awaitable[None]: ...

    def go_on(self) -> None: ...

    def abandon(self) -> None: ...


class Response(msgspec.Struct, eq=False):
    """What came back so far. A struct, because one is made for every call."""

    loop: asyncio.AbstractEventLoop
    line: Line | None
    """Where it comes from; None as soon as nothing more can come."""
    bodyless: bool = False
    """Whether it answers a HEAD request, so that no body follows whatever its headers say."""
    upgrades: bool = False
    """Whether it may change the protocol; what comes after it is no HTTP then."""
    rest: bytes = b""
    """What came of the other protocol already."""
    status: int = 0
    headers: Headers = []
    trailers: Headers = []
    announced: bool = False
    """Whether the head announced trailers."""
    complete: bool = False
    """Whether all of it is here, and perhaps not read yet."""
    error: Exception | None = None
    """Why no more of it comes."""
    chunks: list[bytes] = []
    size: int = 0
    waiter: asyncio.Future[None] | None = None
    slow: Callable[[], None] | None = None
    """Called once when the response lets itself be waited for."""
    continued: Callable[[], None] | None = None
    """Called when the upstream asks for the body that was kept back."""

    # -- by the connection ---------------------------------------------------------------------------------

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """No more comes. The first reason counts."""
        self.line = None
        if self.error is None and not self.complete:
            self.error = error
            self.wake()

    # -- by whoever asked ----------------------------------------------------------------------------------

    async def begun(self) -> None:
        """Wait until the head is here."""
        while not self.status:
            await self.more()

    async def read(self) -> bytes:
        """What has come since the last time, at least a byte of it; empty at the end."""
        while not (self.chunks or self.complete):
            await self.more()
        return self.take()

    def more(self) -> asyncio.Future[None]:
        """What to wait for while the response is not as far as it should be."""
        if self.error is not None:
            raise self.error
        self.waiter = waiter = self.loop.create_future()
        return waiter

    def take(self) -> bytes:
        """What has come since the last time."""
        chunks = self.chunks
        found = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if self.size > BUFFERED_MAX and self.line is not None:
            self.line.go_on()
        self.size = 0
        return found

    @property
    def ended(self) -> bool:
        """Whether everything is here and read."""
        return self.complete and not self.chunks

    def abandon(self, error: Exception | None = None) -> None:
        """Stop the upstream: nobody wants the rest."""
        line, self.line = self.line, None
        if line is not None:
            line.abandon()
        if error is not None:
            self.fail(error)
