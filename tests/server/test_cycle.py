"""One request and its answer: bodies as they come, answers as they are said, and apps that make mistakes."""

import asyncio
import json
import logging
from collections.abc import Sequence

import pytest

from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from tests.server.house import (
    GET,
    HOST,
    LAST,
    body,
    echo,
    headers,
    heard,
    saying,
    served,
    start,
    statuses,
)
from tests.waiting import until


def app_of(*messages: Message) -> ASGIApp:
    """An app that sends these messages, whatever it is asked."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def chunk(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST /a HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


async def test_a_body_arrives_however_it_is_cut() -> None:
    requests = post(b"Content-Length: 5", body=b"hello") + post(
        b"Transfer-Encoding: chunked", body=b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    )
    async with served(echo) as server, server.dial() as line:
        for byte in requests:
            await line.say(bytes([byte]))
        await line.say(LAST)
        answer = await line.closed()
    assert answer.count(b"\r\n\r\n/a hello") == 2


async def test_answers_come_in_the_order_of_their_requests() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/0":
            await asyncio.sleep(0.05)
        await echo(scope, receive, send)

    asked = b"".join(GET.replace(b"GET /", b"GET /%d" % number) for number in range(10))
    async with served(app) as server:
        answer = await server.say(asked + LAST)
    assert [part[:2] for part in answer.split(b"\r\n\r\n")[1:]] == [b"/%d" % n for n in range(10)] + [b"/ "]


async def test_who_asks_for_more_than_it_hears_is_told_to_wait() -> None:
    async with served(echo) as server:
        answer = await server.say(GET * 1000)
    found = statuses(answer)
    assert found[-1] == 429
    assert 1 <= len(found) < 1000
    assert set(found[:-1]) <= {200}


async def test_a_body_that_is_kept_back_is_asked_for_when_the_app_wants_it() -> None:
    async with served(echo) as server, server.dial() as line:
        await line.say(post(b"Content-Length: 2", b"Expect: 100-continue", b"Connection: close"))
        assert await line.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await line.say(b"ab")
        assert (await line.closed()).endswith(b"/a ab")


async def test_a_body_that_was_never_asked_for_ends_the_connection() -> None:
    """Nobody could tell whether what comes next is the body or a request."""
    async with served(saying()) as server:
        answer = await server.say(post(b"Content-Length: 40", b"Expect: 100-continue") + GET)
    assert statuses(answer) == [200]
    assert headers(answer)["connection"] == "close"


async def test_what_an_app_does_not_hear_is_thrown_away_up_to_a_bound() -> None:
    async with served(saying()) as server:
        small = await server.say(post(b"Content-Length: 500000", body=b"x" * 500_000) + LAST)
        large = await server.say(post(b"Content-Length: 3000000", body=b"x" * 1_200_000))
    assert statuses(small) == [200, 200]
    assert statuses(large) == [200]


async def test_the_framing_of_an_answer_is_the_servers() -> None:
    framed = [(b"Transfer-Encoding", b"gzip"), (b"Connection", b"keep-alive"), (b"X-A", b"1")]
    app = app_of(start(*framed), chunk(b"a"), chunk(b""), chunk(b"b", more=False))
    async with served(app) as server:
        modern = await server.say(LAST)
        older = await server.say(b"GET / HTTP/1.0\r\n\r\n")
        asked = await server.say(LAST.replace(b"GET", b"HEAD"))
    assert body(modern) == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
    assert headers(modern)["transfer-encoding"] == "chunked"
    assert body(older) == b"ab"
    assert "transfer-encoding" not in headers(older)
    assert body(asked) == b""
    for answer in (modern, older, asked):
        assert headers(answer)["connection"] == "close"
        assert headers(answer)["x-a"] == "1"


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_gets_none(status: int) -> None:
    app = app_of(start(length=22, status=status), chunk(b"nobody should see this", more=False))
    async with served(app) as server:
        answer = await server.say(GET + LAST)
    assert (b"content-length" in answer) is (status == 304)
    assert statuses(answer) == [status, status]
    assert b"nobody" not in answer
    assert b"transfer-encoding" not in answer


async def test_an_app_that_closes_is_obeyed() -> None:
    async with served(saying(b"ok", (b"Connection", b"Close"))) as server:
        assert statuses(await server.say(GET + GET)) == [200]


async def test_an_app_may_make_its_headers_as_they_are_asked_for() -> None:
    made = iter([(b"content-length", b"2"), (b"x-never-named-before", b"1")])
    app = app_of({"type": "http.response.start", "status": 200, "headers": made}, chunk(b"ok", more=False))
    async with served(app) as server:
        told = headers(await server.say(LAST))
    assert (told["content-length"], told["x-never-named-before"]) == ("2", "1")


async def test_trailers_go_to_clients_that_want_them() -> None:
    began = {**start(), "trailers": True}
    sums: Message = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True}
    last: Message = {"type": "http.response.trailers", "headers": [(b"x-end", b"2")]}
    app = app_of(began, chunk(b"a", more=False), sums, last)
    async with served(app) as server:
        answer = await server.say(LAST.replace(b"Host", b"TE: trailers\r\nHost"))
    assert body(answer) == b"1\r\na\r\n0\r\nx-sum: 1\r\nx-end: 2\r\n\r\n"


FAILING: Sequence[tuple[str, ASGIApp, list[int]]] = [
    ("nothing is said", app_of(), [500]),
    ("the body comes first", app_of(chunk(b"a")), [500]),
    ("two heads", app_of(start(length=1), start(length=1)), [500]),
    ("no such message", app_of({"type": "http.response.push"}), [500]),
    ("no such status", app_of(start(status=99)), [500]),
    ("a line break in a value", app_of(start((b"X-A", b"1\r\nX-B: 2"))), [500]),
    ("a line break in a name", app_of(start((b"X-A\n", b"1"))), [500]),
    ("only half", app_of(start(length=4), chunk(b"ab"), start()), [200]),
    ("an end too soon", app_of(start(length=4), chunk(b"ab", more=False)), [500]),
    ("more than was said", app_of(start(length=1), chunk(b"abc", more=False)), [500]),
    ("no end", app_of(start(length=4), chunk(b"ab")), [200]),
    ("a line break in a trailer", app_of(
        {**start(), "trailers": True}, chunk(b"a", more=False),
        {"type": "http.response.trailers", "headers": [(b"x", b"1\r\n\r\nHTTP/1.1 200")]},
    ), [200]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "app", "expected"), FAILING)
async def test_an_app_that_fails_is_never_taken_for_one_that_has_answered(
    what: str, app: ASGIApp, expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """A 500 where nothing was said, and a connection that breaks off where something was."""
    caplog.set_level(logging.CRITICAL, "metergate")
    async with served(app) as server:
        answer = await server.say(GET.replace(b"Host", b"TE: trailers\r\nHost") + GET)
    assert statuses(answer) == expected
    if expected == [500]:
        assert json.loads(body(answer))["reason"] == "internal_error"
    else:
        assert not answer.endswith(b"0\r\n\r\n")


async def test_an_app_hears_that_the_client_has_left() -> None:
    left = asyncio.Event()
    said: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await heard(receive)
            said.append((await receive())["type"])
            await send(start())  # which reaches nobody, and is no error
            await send(chunk(b"a", more=False))
            left.set()

    async with served(app) as server:
        async with server.dial() as line:
            await line.say(GET)
            await until(lambda: server.server.inner.server_state.tasks != set())
        await asyncio.wait_for(left.wait(), 10)
    assert said == ["http.disconnect"]


async def test_an_app_goes_no_faster_than_its_client_reads() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        if scope["type"] == "http":
            await send(start())
            for _ in range(500):
                await send(chunk(b"x" * 100_000))
                sent += 1
            await send(chunk(b"", more=False))

    async with served(app) as server, server.dial() as line:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]  # any transport of a stream can
        await line.say(LAST)
        await until(lambda: sent > 0)
        await asyncio.sleep(0.1)
        assert sent < 400
        line.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await line.closed()
    assert sent == 500
    assert answer.endswith(b"0\r\n\r\n")


async def test_a_client_sends_no_faster_than_the_app_hears() -> None:
    going = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await going.wait()
            told = len(await heard(receive))
            await send(start(length=len(str(told))))
            await send(chunk(b"%d" % told, more=False))

    size = 20_000_000
    async with served(app) as server, server.dial() as line:
        await line.say(post(b"Content-Length: %d" % size, b"Connection: close"))
        line.writer.write(b"x" * size)
        await asyncio.sleep(0.1)
        assert line.writer.transport.get_write_buffer_size() > size // 4
        going.set()
        assert body(await line.closed()) == b"%d" % size
