"""An answer that two readers could understand differently is none, and its connection ends."""

import pytest

from metergate.upstream import UpstreamError
from metergate.upstream.connection import HEAD_MAX, HEADERS_MAX
from tests.upstream.house import OK, Line, ask, repeating, rest, saying, serving
from tests.waiting import until

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

AMBIGUOUS = {
    "a length beside chunks": HEAD + b"Content-Length: 3\r\n" + CHUNKS,
    "chunks beside a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "a length with a sign": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": HEAD + b"Content-Length: -3\r\n\r\nabc",
    "an empty length": HEAD + b"Content-Length:\r\n\r\nabc",
    "a length beyond all bounds": HEAD + b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "another encoding before chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "another encoding": HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\n" + CHUNKS,
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + CHUNKS,
    "a length in a trailer": HEAD + CHUNKS[:-2] + b"Content-Length: 3\r\n\r\n",
    "a chunk size in hexadecimal notation": HEAD + CHUNKS.replace(b"3\r\n", b"0x3\r\n"),
    "a chunk size beyond all bounds": HEAD + CHUNKS.replace(b"3\r\n", b"f" * 17 + b"\r\n"),
    "a folded header": HEAD + b"X-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a blank before the colon": HEAD + b"Content-Length : 0\r\n\r\n",
    "a header without a name": HEAD + b": 0\r\n\r\n",
    "a NUL in a header": HEAD + b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"just a body",
    "a status below 100": b"HTTP/1.1 99 What\r\n\r\n",
    "a status of three digits below 100": b"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n",
    "a status beyond 599": b"HTTP/1.1 600 What\r\nContent-Length: 0\r\n\r\n",
    "a change of protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a bare change of protocol": b"HTTP/1.1 101 Switching\r\n\r\n",
    "too large a head": HEAD + b"X-A: " + b"a" * (HEAD_MAX + 1),
    "too many headers": HEAD + b"X-A: a\r\n" * (HEADERS_MAX + 1) + b"\r\n",
    "heads without end": b"HTTP/1.1 102 Processing\r\n\r\n" * 6000,
    "trailers without end": HEAD + CHUNKS[:-2] + b"X-A: a\r\n" * 60_000,
}


@pytest.mark.parametrize("answer", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_an_ambiguous_answer_is_refused(answer: bytes) -> None:
    """And the upstream is hung up on, so that nothing of it is taken for another answer."""

    async def script(line: Line) -> None:
        await line.head()
        line.writer.write(answer)
        await line.closed()

    async with serving(script) as served:
        pool = served.pool()
        with pytest.raises(UpstreamError) as error:
            await rest(await ask(pool))
        assert error.value.reason == "upstream_invalid"
        await until(served.scripts[0].done)
        assert pool.take() is None
        assert not pool.connections


async def test_what_comes_after_an_answer_is_nobodys() -> None:
    """The answer stands, the connection goes: else its second half would be the answer to the next call."""
    async with serving(saying(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) as served:
        pool = served.pool()
        assert await rest(await ask(pool)) == b"ok"
        await until(lambda: not pool.connections)


async def test_a_body_behind_the_answer_to_head_is_nobodys() -> None:
    async with serving(saying(OK)) as served:
        pool = served.pool()
        response = await ask(pool, b"HEAD / HTTP/1.1\r\nhost: here\r\n\r\n", bodyless=True)
        assert (response.status, await rest(response)) == (200, b"")
        await until(lambda: not pool.connections)


async def test_what_an_idle_connection_says_ends_it() -> None:
    """No answer is taken from before its question."""

    async def script(line: Line) -> None:
        await line.head()
        await line.say(OK)
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await line.closed()

    async with serving(script) as served:
        pool = served.pool()
        assert await rest(await ask(pool)) == b"ok"
        await until(lambda: not pool.connections)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
async def test_an_upstream_that_wants_to_close_is_let(answer: bytes) -> None:
    async with serving(repeating(answer)) as served:
        pool = served.pool()
        for _ in range(2):
            assert await rest(await ask(pool)) == b"ok"
        assert len(served.lines) == 2
