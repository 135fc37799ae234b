"""Requests that become WebSockets, and those that only look like it."""

import asyncio
import logging
from contextlib import suppress

import pytest

from metergate.asgi.types import Receive, Scope, Send
from tests.server.house import GET, HOST, LAST, echo, served, statuses
from tests.waiting import until

SHAKE = (
    b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HELLO = b"\x81\x85\0\0\0\0hello"
"""A whole message of text."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts and says everything once more; over HTTP it echoes."""
    if scope["type"] != "websocket":
        await echo(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def test_a_socket_counts_among_the_connections_until_it_ends() -> None:
    async with served(app, connections=1) as server:
        async with server.dial() as line:
            await line.say(SHAKE)
            assert statuses(await line.head()) == [101]
            await line.say(HELLO)
            assert await line.reader.readexactly(7) == b"\x81\x05hello"
            assert statuses(await server.say(GET)) == [429]
        await until(lambda: not server.server.inner.server_state.connections)
        assert statuses(await server.say(LAST)) == [200]


async def test_who_speaks_before_the_handshake_is_answered_is_refused() -> None:
    """Neither the next request nor a message: an answer could still be no."""
    async with served(app) as server:
        for early in (HELLO, GET, b"\xff"):
            assert statuses(await server.say(SHAKE + early)) == [400]


async def test_who_cannot_wait_for_the_app_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """And leaves no line in the log, which anybody could fill."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            assert (await receive())["type"] == "websocket.connect"
            asked.set()
            assert (await receive())["type"] == "websocket.disconnect"
            left.set()

    async with served(slow) as server, server.dial() as line:
        await line.say(SHAKE)
        await asked.wait()
        await line.say(HELLO + b"\xff\xff")
        with suppress(ConnectionError):
            assert not await line.closed()
        await asyncio.wait_for(left.wait(), 10)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_what_only_looks_like_a_handshake_is_an_ordinary_request() -> None:
    looks = {
        "an older client": SHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        "another method": SHAKE.replace(b"GET", b"DELETE"),
        "another protocol": SHAKE.replace(b"WebSocket\r\n", b"h2c\r\n"),
        "not meant for us": SHAKE.replace(b"keep-alive, Upgrade", b"keep-alive"),
    }
    async with served(app) as server:
        for what, request in looks.items():
            assert statuses(await server.say(request + LAST))[0] == 200, what
