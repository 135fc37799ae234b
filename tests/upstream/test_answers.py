"""Whatever an upstream may answer arrives as it was sent."""

import asyncio

import pytest

from metergate.upstream import UpstreamError
from tests.upstream.house import GET, OK, Line, ask, rest, saying, serving
from tests.waiting import until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (CHUNKED + b"2\r\nhe\r\n3;what=ever\r\nllo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),  # ends with the connection
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n', b""),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            b"a",
        ),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", b"a"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1000], ids=["byte by byte", "at once"])
async def test_every_framing_gives_its_body(answer: bytes, body: bytes, piece: int) -> None:
    parts = [answer[at : at + piece] for at in range(0, len(answer), piece)]
    async with serving(saying(*parts)) as served:
        assert await rest(await ask(served.pool())) == body


async def test_status_and_headers_keep_order_and_repetition() -> None:
    """Names in lower case, as ASGI wants them; values byte for byte."""
    head = b"HTTP/1.1 418 Teapot\r\nSet-Cookie: a=1\r\nX-Odd: \xff \t!\r\nset-cookie: b=2\r\n"
    async with serving(saying(head + b"Content-Length: 0\r\n\r\n")) as served:
        response = await ask(served.pool())
    assert response.status == 418
    assert response.headers == [
        (b"set-cookie", b"a=1"),
        (b"x-odd", b"\xff \t!"),
        (b"set-cookie", b"b=2"),
        (b"content-length", b"0"),
    ]


async def test_what_concerns_the_connection_stays_there() -> None:
    """Hop-by-hop headers, and those that the upstream's own Connection names."""
    head = (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\n"
        b"X-Public: 2\r\nProxy-Authenticate: Basic\r\nTE: x\r\nUpgrade: h2c\r\n"
    )
    async with serving(saying(head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")) as served:
        response = await ask(served.pool())
        assert response.headers == [(b"x-public", b"2")]


async def test_a_chunk_is_here_before_the_next_exists() -> None:
    heard = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await line.say(CHUNKED + b"5\r\nfirst\r\n")
        await heard.wait()
        await line.say(b"6\r\nsecond\r\n0\r\n\r\n")

    async with serving(script) as served:
        response = await ask(served.pool())
        assert await response.read() == b"first"
        assert not response.ended
        heard.set()
        assert await response.read() == b"second"
        assert await response.read() == b""
        assert response.ended


@pytest.mark.parametrize("length", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_the_answer_to_head_has_no_body_and_the_connection_lives_on(length: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n"

    async def script(line: Line) -> None:
        for answer in (head, head, OK):
            await line.head()
            await line.say(answer)

    async with serving(script) as served:
        pool = served.pool()
        for _ in range(2):
            response = await ask(pool, b"HEAD / HTTP/1.1\r\nhost: here\r\n\r\n", bodyless=True)
            assert response.ended
        assert await rest(await ask(pool)) == b"ok"
        assert len(served.lines) == 1


async def test_trailers_are_kept_apart_from_the_headers() -> None:
    """What concerns the connection goes from among them too."""
    head = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(saying(head + b"1\r\na\r\n0\r\nX-Sum: 9\r\nUpgrade: h2c\r\n\r\n")) as served:
        response = await ask(served.pool())
        assert await rest(response) == b"a"
    assert response.announced
    assert response.headers == []
    assert response.trailers == [(b"x-sum", b"9")]


async def test_an_early_answer_is_here_before_the_request_is_sent() -> None:
    """The connection, in the middle of a request that nobody will finish, is not used again."""

    async def script(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        assert await line.closed() == b"abc"

    async with serving(script) as served:
        pool = served.pool()
        connection = await pool.connect()
        head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 1000\r\n\r\n"
        response = connection.send(head + b"abc", pool.pulse.now, more=True)
        await response.begun()
        assert (response.status, await rest(response)) == (413, b"no")
        connection.write(b"more")  # nobody hears it
        assert pool.take() is None


async def test_what_was_sent_before_a_cut_is_read_before_the_error() -> None:
    async with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")) as served:
        response = await ask(served.pool())
        assert await response.read() == b"half"
        with pytest.raises(UpstreamError, match="in the middle of its answer") as error:
            await response.read()
        assert error.value.reason == "upstream_unreachable"


@pytest.mark.parametrize("body", [b"Content-Length: 9\r\n\r\nhalf", b"\r\nhalf"])
async def test_a_reset_is_never_taken_for_an_end(body: bytes) -> None:
    sent = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 200 OK\r\n" + body)
        await sent.wait()
        line.writer.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: close resets
        line.reset()

    async with serving(script) as served:
        response = await ask(served.pool())
        assert await response.read() == b"half"
        sent.set()
        with pytest.raises(UpstreamError):
            await response.read()


async def test_one_hundred_asks_for_the_body_that_was_kept_back() -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await line.reader.readexactly(4) == b"body"
        await line.say(OK)

    asked: list[bool] = []
    async with serving(script) as served:
        pool = served.pool()
        connection = await pool.connect()
        head = b"POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
        response = connection.send(head, pool.pulse.now, more=True)
        response.continued = lambda: asked.append(True)
        await until(lambda: bool(asked))
        connection.write(b"body")
        connection.sent()
        await response.begun()
        assert await rest(response) == b"ok"
        assert pool.take() is connection


async def test_a_reader_that_leaves_hangs_up() -> None:
    ended = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await line.say(CHUNKED + b"1\r\na\r\n")
        await line.closed()
        ended.set()

    async with serving(script) as served:
        pool = served.pool()
        response = await ask(pool, GET)
        response.abandon()
        await ended.wait()
        await until(lambda: not pool.connections)
        assert pool.take() is None
