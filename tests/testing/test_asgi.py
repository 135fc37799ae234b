"""The ASGI driver shows what an app sends, when it sends it."""

import asyncio

import pytest

from metergate.testing.asgi import Message, Receive, Request, Scope, Send, WebSocket, fetch, lifespan

OK: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1"), (b"X-A", b"2")]}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["method"] == "POST"
    await send(OK)
    while True:
        message = await receive()
        await send({"type": "http.response.body", "body": message["body"], "more_body": message["more_body"]})
        if not message["more_body"]:
            return


async def test_a_whole_answer_is_fetched() -> None:
    answer = await fetch(echo, "POST", "/p?q=1", body=b'{"n": 1}')
    assert (answer.status, answer.json()) == (200, {"n": 1})
    assert (answer.header("x-a"), answer.header("x-b")) == ("1, 2", None)


async def test_each_chunk_is_seen_before_the_next_exists() -> None:
    async with Request(echo, "POST", "/", body=None) as request:
        assert await request.status() == 200
        request.send(b"first")
        assert await request.chunk() == b"first"
        assert not request.finished
        request.send(b"second", more=False)
        assert await request.chunk() == b"second"
        assert request.finished
        assert await request.chunk() is None


async def test_the_app_hears_that_the_client_went_away() -> None:
    heard = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await send(OK)
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.set()

    async with Request(waits, "GET", "/") as request:
        await request.status()
        request.disconnect()
        await request.ended()
    assert heard.is_set()


async def test_what_the_app_raises_reaches_the_test() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await fetch(breaks, "GET", "/")


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([], "without an answer"),
        ([OK], "before the end of the body"),
        ([{"type": "http.response.body"}], "sent http.response.body where http.response.start is due"),
    ],
)
async def test_an_app_that_breaks_the_protocol_is_told(messages: list[Message], complaint: str) -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    with pytest.raises(AssertionError, match=complaint):
        await fetch(breaks, "GET", "/")


async def test_a_test_that_fails_does_not_wait_for_the_app() -> None:
    async def sleeps(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    with pytest.raises(KeyError):
        async with Request(sleeps, "GET", "/"):
            raise KeyError


async def test_the_app_meets_the_path_in_both_forms() -> None:
    seen: Scope = {}

    async def looks(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)
        await send(OK)
        await send({"type": "http.response.body"})
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"

    await fetch(looks, "GET", "/a%2Fb?x=%20", headers={"X-Key": "ä"}, root_path="/mounted")
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == ("/a/b", b"/a%2Fb", b"x=%20")
    assert seen["headers"] == [(b"host", b"testserver"), (b"x-key", b"\xe4")]
    assert seen["root_path"] == "/mounted"


async def shouts(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if "text" in message:
            await send({"type": "websocket.send", "text": message["text"].upper()})
        elif message["bytes"]:
            await send({"type": "websocket.send", "bytes": message["bytes"] * 2})
        else:
            await send({"type": "websocket.close", "code": 4000})


async def test_a_websocket_is_talked_to_message_by_message() -> None:
    async with WebSocket(shouts, "/ws", subprotocols=["chat"]) as socket:
        assert await socket.accepted() is None
        socket.send("hey")
        assert await socket.receive() == "HEY"
        socket.send(b"ab")
        assert await socket.receive() == b"abab"
        socket.send(b"")
        assert await socket.receive() is None
        assert socket.close_code == 4000
        socket.disconnect()
        assert await socket.receive() is None


@pytest.mark.parametrize(
    ("messages", "status", "body"),
    [
        ([], 403, b""),
        ([{"type": "websocket.close", "code": 1008}], 403, b""),
        (
            [
                {"type": "websocket.http.response.start", "status": 402, "headers": [(b"x-a", b"1")]},
                {"type": "websocket.http.response.body", "body": b"pay ", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"first"},
            ],
            402,
            b"pay first",
        ),
    ],
)
async def test_a_websocket_may_be_refused(messages: list[Message], status: int, body: bytes) -> None:
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async with WebSocket(refuses, "/ws") as socket:
        answer = await socket.accepted()
        assert answer is not None and (answer.status, answer.body) == (status, body)


async def test_a_lifespan_starts_and_stops_the_app() -> None:
    heard: list[str] = []

    async def lives(scope: Scope, receive: Receive, send: Send) -> None:
        for step in ("startup", "shutdown"):
            heard.append((await receive())["type"])
            await send({"type": f"lifespan.{step}.complete"})

    async with lifespan(lives):
        assert heard == ["lifespan.startup"]
    assert heard == ["lifespan.startup", "lifespan.shutdown"]


async def test_a_lifespan_that_fails_says_why() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no disk"})

    with pytest.raises(AssertionError, match="startup of the app failed: no disk"):
        async with lifespan(fails):
            pass
