"""An open WebSocket to an upstream: whole messages in either direction, pings answered and sent.

The handshake is an ordinary exchange of a `Connection`; what follows it is framed by the library websockets.
"""

import asyncio
import base64
import hashlib
import secrets
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from metergate.errors import ConfigurationError
from metergate.upstream.errors import invalid
from metergate.upstream.response import BUFFERED_MAX, Response

if TYPE_CHECKING:
    from websockets.frames import Frame

MESSAGE_MAX = 16 * 1024 * 1024
PING_S = 20.0
"""After so long without a sign of life one is asked for, and after twice as long the socket is given up."""
CLOSING_S = 5.0
REASON_MAX = 123

NORMAL, GOING_AWAY, NO_STATUS, ABNORMAL, INVALID_DATA = 1000, 1001, 1005, 1006, 1007
TELLING = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
"""The codes that a close may carry."""

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Closing(NamedTuple):
    code: int
    reason: str = ""


class Home(Protocol):
    """The pool, as far as its sockets know it."""

    def lost(self, kept: "Socket") -> None: ...


class Handshake(NamedTuple):
    """What the client side of a handshake says, and how to tell whether it was understood."""

    lines: bytes
    expected: bytes
    subprotocols: Sequence[str]

    @classmethod
    def new(cls, subprotocols: Sequence[str]) -> "Handshake":
        key = base64.b64encode(secrets.token_bytes(16))
        lines = (
            b"connection: Upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: %b\r\n" % key
        )
        if subprotocols:
            lines += b"sec-websocket-protocol: %b\r\n" % ", ".join(subprotocols).encode("ascii")
        accept = hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest()
        return cls(lines + b"\r\n", base64.b64encode(accept), subprotocols)

    def chosen(self, response: Response) -> str | None:
        """The subprotocol that the upstream has chosen; raises when it did not understand."""
        told = dict(response.headers)
        if told.get(b"sec-websocket-accept") != self.expected:
            raise invalid("The upstream did not prove that it speaks WebSocket.")
        if b"sec-websocket-extensions" in told:
            raise invalid("The upstream chose an extension that nobody offered.")
        chosen = told.get(b"sec-websocket-protocol", b"").decode("latin-1")
        if chosen and chosen not in self.subprotocols:
            raise invalid("The upstream chose a subprotocol that nobody offered.")
        return chosen or None


class Socket(asyncio.Protocol):
    def __init__(
        self, home: Home, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, now: float
    ) -> None:
        try:
            from websockets.protocol import Protocol as Frames
            from websockets.protocol import Side
        except ModuleNotFoundError:
            raise ConfigurationError("WebSockets need websockets: pip install 'metergate[server]'") from None
        self._frames = Frames(Side.CLIENT, max_size=MESSAGE_MAX)
        self._home = home
        self._loop = loop
        self._transport = transport
        self.closing: Closing | None = None
        """How it was closed, or is being closed."""
        self.until = 0.0
        """When it must be over; zero for no such time."""
        self._messages: deque[str | bytes] = deque()
        self._size = 0
        self._parts: list[bytes] = []
        self._is_text = False
        self._reading = True
        self._waiter: asyncio.Future[None] | None = None
        self._blocked: asyncio.Future[None] | None = None
        self._since = now
        self._moved = self._pinged = False

    # -- for whoever talks ---------------------------------------------------------------------------------

    async def receive(self) -> str | bytes | None:
        """The next message; None when the upstream has closed."""
        while not self._messages:
            if self.closing is not None:
                return None
            self._waiter = waiter = self._loop.create_future()
            await waiter
        message = self._messages.popleft()
        self._size -= len(message)
        if not self._reading and self._size <= BUFFERED_MAX and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
        return message

    async def send(self, message: str | bytes) -> None:
        """Pass a message on, as soon as the upstream has taken the ones before it."""
        if self.closing is None:
            if isinstance(message, str):
                self._frames.send_text(message.encode())
            else:
                self._frames.send_binary(message)
            self._write()
        while self._blocked is not None:
            await self._blocked

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye; what the upstream still says is not heard."""
        if self.closing is None:
            self._end(Closing(code, reason))
            told = None if code == NO_STATUS else code if code in TELLING else GOING_AWAY
            self._frames.send_close(told, _short(reason) if told else "")
            self._write()

    def abandon(self) -> None:
        self._transport.abort()

    # -- asyncio -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._moved = True
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            self._hear(event)  # type: ignore[arg-type]  # without a handshake all events are frames
        rest = self._frames.close_rcvd
        if rest is not None:
            self._end(Closing(rest.code, rest.reason))
        elif self._frames.parser_exc is not None:
            self._end(Closing(ABNORMAL, "The upstream broke the protocol."))
        self._write()
        if self._size > BUFFERED_MAX and self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _hear(self, frame: "Frame") -> None:
        if frame.opcode >= 8 or self.closing is not None:
            return  # what controls the connection, the library has answered; after the end nobody listens
        if frame.opcode:
            self._is_text = frame.opcode == 1
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        data = b"".join(self._parts)
        self._parts.clear()
        try:
            message = data.decode() if self._is_text else data
        except UnicodeDecodeError:
            self.close(INVALID_DATA, "text that is not UTF-8")
            return
        self._messages.append(message)
        self._size += len(message)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Closing(ABNORMAL, ""))
        self.resume_writing()
        self._home.lost(self)

    def pause_writing(self) -> None:
        if self._blocked is None:
            self._blocked = self._loop.create_future()

    def resume_writing(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    def look(self, now: float) -> None:
        """Whether the upstream is still there."""
        if self._moved or not self._reading:
            self._moved = self._pinged = False
            self._since = now
        quiet = now - self._since
        if self.closing is not None:
            self.until = self.until or now + CLOSING_S
        elif quiet > 2 * PING_S:
            self.abandon()
        elif quiet > PING_S and not self._pinged:
            self._pinged = True
            self._frames.send_ping(secrets.token_bytes(4))
            self._write()
        if self.until and now > self.until:
            self.abandon()

    def _end(self, closing: Closing) -> None:
        if self.closing is None:
            self.closing = closing
            self.until = 0.0
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _write(self) -> None:
        for data in self._frames.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()


def _short(reason: str) -> str:
    return reason.encode()[:REASON_MAX].decode(errors="ignore")
