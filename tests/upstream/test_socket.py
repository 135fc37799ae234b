"""A WebSocket to an upstream that misbehaves, or that nobody hears of any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from metergate.upstream import Handshake, Socket
from metergate.upstream.socket import ABNORMAL, CLOSING_S, INVALID_DATA, MESSAGE_MAX, PING_S, Closing
from tests.upstream.house import Line, Script, serving
from tests.waiting import until

HEAD = b"GET / HTTP/1.1\r\nhost: here\r\n"


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


async def shake(line: Line, rest: bytes = b"") -> None:
    head = (await line.head()).decode()
    key = next(each.partition(": ")[2] for each in head.split("\r\n") if each.startswith("sec-websocket-key"))
    lines = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    await line.say(lines.encode() + accept_key(key).encode() + b"\r\n\r\n" + rest)


@asynccontextmanager
async def talking(script: Script, beat_s: float = 0.01) -> AsyncIterator[Socket]:
    async with serving(script) as served:
        pool = served.pool(beat_s)
        connection = await pool.connect()
        handshake = Handshake.new(())
        response = connection.send(HEAD + handshake.lines, pool.pulse.now, upgrades=True)
        await response.begun()
        assert handshake.chosen(response) is None
        socket = pool.talk(connection, response.rest)
        yield socket
        socket.abandon()
        await until(lambda: not pool.connections)  # its place is free again


async def test_what_comes_with_the_handshake_is_heard() -> None:
    async def script(line: Line) -> None:
        await shake(line, frame(Opcode.TEXT, b"at once"))
        await line.closed()

    async with talking(script) as socket:
        assert await socket.receive() == "at once"


@pytest.mark.parametrize(
    ("data", "closing"),
    [
        (frame(Opcode.TEXT, b"\xff"), Closing(INVALID_DATA, "text that is not UTF-8")),
        (frame(Opcode.CONT, b"what"), Closing(ABNORMAL, "The upstream broke the protocol.")),
        (b"\xff\xff", Closing(ABNORMAL, "The upstream broke the protocol.")),
        (
            b"\x82\x7f" + (MESSAGE_MAX + 1).to_bytes(8, "big"),
            Closing(ABNORMAL, "The upstream broke the protocol."),
        ),
        (frame(Opcode.BINARY, b"x", fin=False) + frame(Opcode.CLOSE, b""), Closing(1005, "")),
        (frame(Opcode.CLOSE, b"\x03\xe8bye"), Closing(1000, "bye")),
    ],
    ids=["not UTF-8", "no beginning", "no frame", "too long", "half a message", "goodbye"],
)
async def test_how_it_ends_is_told(data: bytes, closing: Closing) -> None:
    """And no half of a message is."""

    async def script(line: Line) -> None:
        await shake(line, data)
        await line.closed()

    async with talking(script) as socket:
        assert await socket.receive() is None
        assert socket.closing == closing
        await socket.send("nobody hears it")


async def test_an_upstream_that_says_nothing_is_asked_and_then_left() -> None:
    pings: list[bytes] = []

    async def script(line: Line) -> None:
        await shake(line)
        pings.append(await line.reader.readexactly(2 + 4 + 4))
        await line.closed()

    async with talking(script) as socket:
        now = socket._since
        socket.look(now + PING_S + 1)
        await until(lambda: bool(pings))
        assert pings[0][0] & 0x0F == Opcode.PING
        socket.look(now + 2 * PING_S - 1)
        assert socket.closing is None
        socket.look(now + 2 * PING_S + 1)
        assert await socket.receive() is None
        assert socket.closing == Closing(ABNORMAL, "")


async def test_an_upstream_that_answers_pings_is_there() -> None:
    async def script(line: Line) -> None:
        await shake(line)
        ping = await line.reader.readexactly(2 + 4 + 4)
        mask, data = ping[2:6], ping[6:]
        await line.say(frame(Opcode.PONG, bytes(a ^ b for a, b in zip(data, mask, strict=True))))
        await line.closed()

    async with talking(script, beat_s=60.0) as socket:
        now = socket._since
        socket.look(now + PING_S + 1)
        await until(lambda: socket._moved)
        socket.look(now + 3 * PING_S)
        assert not socket._transport.is_closing()


async def test_an_upstream_that_does_not_say_goodbye_is_left() -> None:
    left = asyncio.Event()

    async def script(line: Line) -> None:
        await shake(line)
        try:
            while True:  # hears the goodbye and does not answer it
                await line.reader.readexactly(1)
        finally:
            left.set()

    async with talking(script) as socket:
        socket.close(1000, "bye")
        now = socket._since
        socket.look(now + 1)
        assert not left.is_set()
        socket.look(now + 2 + CLOSING_S)
        await left.wait()
