"""How long clients may take, how many there may be, and how a server ends."""

import asyncio
import json

from metergate.asgi.types import Receive, Scope, Send
from tests.server.house import GET, HOST, LAST, body, echo, headers, heard, saying, served, start, statuses
from tests.waiting import until

SHORT_US = 100_000
POST = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n"


def reason(answer: bytes) -> tuple[int, str]:
    return statuses(answer)[0], json.loads(body(answer))["reason"]


async def test_a_head_has_its_time() -> None:
    async with served(echo, head_within_us=SHORT_US) as server:
        assert reason(await server.say(b"GET / HTTP/1.1\r\nHo")) == (408, "too_slow")
        assert await server.say(b"") == b""  # who says nothing is told nothing


async def test_a_body_may_not_stand_still() -> None:
    async with served(echo, body_silence_us=SHORT_US) as server:
        assert reason(await server.say(POST + b"12345")) == (408, "too_slow")


async def test_a_body_that_comes_slowly_comes() -> None:
    async with served(echo, body_silence_us=400_000) as server, server.dial() as line:
        await line.say(POST)
        for _ in range(10):
            await line.say(b"x")
            await asyncio.sleep(0.1)
        assert (await line.head()).startswith(b"HTTP/1.1 200")


async def test_a_connection_that_waits_is_closed_in_the_end() -> None:
    async with served(echo, keep_alive_us=SHORT_US) as server:
        assert statuses(await server.say(GET)) == [200]


async def test_an_answer_has_all_the_time_it_needs() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(0.5)
            await echo(scope, receive, send)

    async with served(app, keep_alive_us=SHORT_US, head_within_us=SHORT_US) as server:
        assert statuses(await server.say(GET)) == [200]


async def test_who_takes_nothing_of_its_answer_is_cut_off() -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start())
            while server.server.inner.server_state.connections:
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            ended.set()

    async with served(app, read_silence_us=SHORT_US) as server, server.dial() as line:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]  # any transport of a stream can
        await line.say(GET)
        await asyncio.wait_for(ended.wait(), 10)


async def test_there_are_only_so_many_connections() -> None:
    async with served(echo, connections=2) as server, server.dial() as one, server.dial() as two:
        for line in (one, two):
            await line.say(GET)
            await line.head()
        answer = await server.say(GET)
        assert reason(answer) == (429, "too_many_connections")
        assert headers(answer)["retry-after"] == "1"
        one.close()
        await until(lambda: len(server.server.inner.server_state.connections) < 2)
        assert statuses(await server.say(LAST)) == [200]


async def test_a_server_that_ends_answers_what_it_has_begun() -> None:
    going = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await heard(receive)
            await going.wait()
            await saying()(scope, receive, send)

    async with served(app) as server, server.dial() as idle, server.dial() as busy:
        await busy.say(GET + GET)
        await idle.say(b"")
        await until(lambda: len(server.server.inner.server_state.tasks) == 1)
        server.server.inner.should_exit = True
        assert await idle.closed() == b""
        going.set()
        answer = await busy.closed()
    assert statuses(answer) == [200]
    assert headers(answer)["connection"] == "close"
