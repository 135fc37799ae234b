"""WebSockets: opened where the policy offers them, metered, closed on both sides when either closes."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.proxy.house import Gateway, Line, Log, header
from tests.waiting import DEADLINE_S, until

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def upstream(proxy: Gateway, handler: Handler, **options: Any) -> AsyncIterator[None]:
    async with asyncio.timeout(DEADLINE_S), serve(handler, "127.0.0.1", proxy.upstream_port, **options):
        yield


def dial(proxy: Gateway, path: str, key: str = "", **options: Any) -> Any:
    shown = {"authorization": f"Bearer {key}"} if key else {}
    return connect(f"ws://127.0.0.1:{proxy.port}{path}", additional_headers=shown, **options)


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@pytest.mark.parametrize("path", ["/ws/a?b=%2F", "/ws/free/a", "/ws/open/a"])
async def test_messages_pass_as_they_are(proxy: Gateway, path: str) -> None:
    """Text as text and bytes as bytes, of any length, whatever the route costs."""
    key = "" if "open" in path else await proxy.customer_once()
    seen: list[str] = []

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        seen.append(socket.request.path)
        await echo(socket)

    messages = ["text", "", "€" * 1000, b"", bytes(range(256)), b"x" * 1_000_000]
    async with upstream(proxy, handler), dial(proxy, path, key) as client:
        for message in messages:
            await client.send(message)
            assert await client.recv() == message
    assert seen == [path]


async def test_messages_in_parts_arrive_whole(proxy: Gateway) -> None:
    key = await proxy.customer_once()

    async def handler(socket: ServerConnection) -> None:
        await socket.send(["a", "€", "b"])
        await socket.recv()

    async with upstream(proxy, handler), dial(proxy, "/ws/a", key) as client:
        assert await client.recv() == "a€b"


async def test_the_handshake_says_what_a_request_would(proxy: Gateway) -> None:
    """The policy's credential, X-Forwarded headers, and of the client's handshake only its wishes."""
    key = await proxy.customer_once()
    log = Log(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    async with proxy.upstream(log):
        with pytest.raises(InvalidStatus):
            await dial(proxy, "/ws/a", key, subprotocols=["one", "two"], origin="https://app.example")
    [head] = log.heads
    assert header(head, "authorization") == "Bearer ours"
    assert header(head, "origin") == "https://app.example"
    assert header(head, "x-forwarded-proto") == "http"
    assert header(head, "connection") == "Upgrade"
    assert header(head, "sec-websocket-protocol") == "one, two"
    assert header(head, "sec-websocket-extensions") is None
    assert head.lower().count(b"sec-websocket-key") == 1
    assert key.encode() not in head


async def test_the_upstream_chooses_the_subprotocol(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    two = Subprotocol("two")
    async with (
        upstream(proxy, echo, subprotocols=[two]),
        dial(proxy, "/ws/a", key, subprotocols=["one", "two"]) as client,
    ):
        assert client.subprotocol == "two"


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (3000, "ours"), (4999, "x" * 123)])
async def test_how_the_client_closes_reaches_the_upstream(proxy: Gateway, code: int, reason: str) -> None:
    key = await proxy.customer_once()
    closed: list[tuple[int | None, str | None]] = []

    async def handler(socket: ServerConnection) -> None:
        await socket.wait_closed()
        closed.append((socket.close_code, socket.close_reason))

    async with upstream(proxy, handler):
        async with dial(proxy, "/ws/a", key) as client:
            await client.close(code, reason)
        await until(lambda: bool(closed))
    assert closed[0][0] == code


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1008, "no"), (1011, "oh"), (4000, "ours")])
async def test_how_the_upstream_closes_reaches_the_client(proxy: Gateway, code: int, reason: str) -> None:
    """After everything that it has said before."""
    key = await proxy.customer_once()

    async def handler(socket: ServerConnection) -> None:
        for number in range(100):
            await socket.send(str(number))
        await socket.close(code, reason)

    async with upstream(proxy, handler), dial(proxy, "/ws/a", key) as client:
        for number in range(100):
            assert await client.recv() == str(number)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)


async def test_an_upstream_that_breaks_off_is_an_error_for_the_client(proxy: Gateway) -> None:
    key = await proxy.customer_once()

    async def handler(socket: ServerConnection) -> None:
        socket.transport.abort()

    async with upstream(proxy, handler), dial(proxy, "/ws/a", key) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011


async def test_a_client_that_breaks_off_frees_the_upstream(proxy: Gateway) -> None:
    key = await proxy.customer("abrupt")
    closed = asyncio.Event()

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.wait_closed()
        closed.set()

    async with upstream(proxy, handler):
        client: ClientConnection = await dial(proxy, "/ws/a", key)
        await client.send("one")
        client.transport.abort()
        await closed.wait()
    [row] = await proxy.rows("abrupt", at_least=1)
    assert (row["meter"], row["units"]) == ("messages", 1)
    assert await proxy.balance("abrupt") == "0.99"


async def test_a_socket_is_closed_on_both_sides_when_the_credits_are_used_up(proxy: Gateway) -> None:
    key = await proxy.customer("talker", "0.03")
    closed: list[int | None] = []

    async def handler(socket: ServerConnection) -> None:
        await socket.wait_closed()
        closed.append(socket.close_code)

    async with upstream(proxy, handler), dial(proxy, "/ws/a", key) as client:
        for _ in range(4):
            await client.send("more")
        with pytest.raises(ConnectionClosed) as ended:
            await client.recv()
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (4402, "insufficient_credits")
        await until(lambda: bool(closed))
    assert await proxy.balance("talker") == "0.00"


async def refused(proxy: Gateway, path: str, key: str) -> dict[str, Any]:
    with pytest.raises(InvalidStatus) as error:
        await dial(proxy, path, key)
    told: dict[str, Any] = json.loads(error.value.response.body)
    assert told["status"] == error.value.response.status_code
    return told


async def test_a_path_without_sockets_offers_none(proxy: Gateway) -> None:
    """Whatever it offers otherwise; nothing reaches the upstream, and nothing is charged."""
    key = await proxy.customer("seeker")
    log = Log()
    async with proxy.upstream(log):
        told = await refused(proxy, "/free/a", key)
    assert (told["status"], told["reason"]) == (403, "route_not_in_policy")
    assert log.heads == []
    assert await proxy.balance("seeker") == "1.00"


@pytest.mark.parametrize("path", ["/ws/a", "/ws/free/a", "/ws/open/a"])
async def test_an_upstream_that_is_not_there_is_a_refusal_in_full(proxy: Gateway, path: str) -> None:
    key = "" if "open" in path else await proxy.customer_once()
    told = await refused(proxy, path, key)
    assert (told["status"], told["reason"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBhbnN3ZXIK\r\n",
        b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
        b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: unasked\r\n",
    ],
)
async def test_a_handshake_that_went_wrong_opens_nothing(proxy: Gateway, lines: bytes) -> None:
    key = await proxy.customer(f"handshake-{len(lines)}")

    async def script(line: Line) -> None:
        from websockets.utils import accept_key

        key = header(await line.head(), "sec-websocket-key") or ""
        told = lines.replace(b"%b", accept_key(key).encode())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        await line.say(head + told + b"\r\n")
        await line.closed()

    async with proxy.upstream(script):
        told = await refused(proxy, "/ws/a", key)
    assert (told["status"], told["reason"]) == (502, "upstream_invalid")
    assert await proxy.balance(f"handshake-{len(lines)}") == "1.00"


async def test_the_upstreams_own_refusal_reaches_the_client(proxy: Gateway) -> None:
    """And is free: no socket was opened."""
    key = await proxy.customer("turned-away")
    log = Log(
        b"HTTP/1.1 418 Teapot\r\nContent-Type: text/plain\r\nX-Why: tea\r\nContent-Length: 6\r\n\r\nno tea"
    )
    async with proxy.upstream(log):
        with pytest.raises(InvalidStatus) as error:
            await dial(proxy, "/ws/a", key)
    response = error.value.response
    assert (response.status_code, response.body, response.headers["x-why"]) == (418, b"no tea", "tea")
    assert await proxy.balance("turned-away") == "1.00"


async def test_a_slow_client_slows_the_upstream(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    sent = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal sent
        for _ in range(400):
            await socket.send(os.urandom(100_000))
            sent += 1

    async with (
        upstream(proxy, handler, write_limit=1 << 16),
        dial(proxy, "/ws/free/a", key, max_queue=1) as client,
    ):
        await asyncio.sleep(1)
        stuck = sent
        assert stuck < 400
        for _ in range(400):
            await client.recv()
    assert sent == 400
