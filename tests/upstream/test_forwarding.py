"""Forwarding serves any front that knows its caller: here one of lists, without ASGI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from metergate.core.policy import Upstream
from metergate.errors import MetergateError
from metergate.upstream import AnswerReader, Forwarding, HeadWriter, UpstreamError, Way
from metergate.upstream.response import Headers
from tests.upstream.house import OK, Line, Script, Served, saying, serving
from tests.waiting import until

CHUNKS = b"HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n"


class Caller:
    """Sends these parts of a body and then waits, or leaves."""

    wants_head = False
    frames = True
    takes_trailers = True

    def __init__(self, *parts: bytes, leaves: bool = False, deaf: bool = False) -> None:
        self.parts = list(parts)
        self.left = asyncio.Event()
        self.deaf = deaf
        if leaves:
            self.left.set()
        self.status = 0
        self.headers: Headers = []
        self.body = b""
        self.ended = False

    async def hear(self) -> tuple[bytes, bool] | None:
        if self.parts:
            return self.parts.pop(0), bool(self.parts)
        await self.left.wait()
        return None

    async def begin(self, status: int, headers: Headers, *, trailers: bool) -> None:
        self.status, self.headers = status, headers
        if self.deaf:
            raise ConnectionResetError("The caller has left.")

    async def say(self, body: bytes, *, more: bool) -> None:
        self.body += body
        self.ended = not more

    async def trail(self, headers: Headers) -> None:
        self.headers = headers

    def stopped(self, error: OSError) -> bool:
        return False


@asynccontextmanager
async def leading_to(script: Script) -> AsyncIterator[tuple[Served, Way]]:
    async with serving(script) as served:
        pool = served.pool()
        heads = HeadWriter(pool.origin, Upstream(str(pool.origin)))
        yield served, Way(pool, heads, AnswerReader(pool.origin, cookies=False))


async def forwarded(
    way: Way, caller: Caller, *, length: int | None = None, room: int = 100, drain_s: float = 0.0
) -> Forwarding:
    headers = [(b"content-length", b"%d" % length)] if length is not None else []
    if length is None and caller.parts:
        headers.append((b"transfer-encoding", b"chunked"))
    head = way.heads.write("POST", b"/a?b", headers, ("203.0.113.7", "https"), "req_1")
    forwarding = Forwarding(way, caller, room, room, drain_s)
    await forwarding.run(head)
    return forwarding


async def test_a_request_and_its_answer_pass() -> None:
    """In as many parts as there are, with the trailers."""
    heard: list[bytes] = []

    async def script(line: Line) -> None:
        heard.append(await line.head())
        heard.append(await line.reader.readuntil(b"0\r\n\r\n"))
        await line.say(CHUNKS + b"2\r\nhe\r\n")
        await line.say(b"3\r\nllo\r\n0\r\nX-Sum: 5\r\n\r\n")

    async with leading_to(script) as (_, way):
        caller = Caller(b"one", b"two")
        assert (await forwarded(way, caller)).delivered
    assert heard[0].startswith(b"POST /a?b HTTP/1.1\r\n")
    assert heard[1] == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert (caller.status, caller.body, caller.ended) == (200, b"hello", True)
    assert caller.headers == [(b"x-sum", b"5")]


@pytest.mark.parametrize(("drain_s", "body"), [(0.0, b"a"), (10.0, b"abc")])
async def test_who_leaves_stops_the_upstream_or_has_it_heard_to_its_end(drain_s: float, body: bytes) -> None:
    caller, ways = Caller(), list[Way]()

    async def script(line: Line) -> None:
        await line.head()
        await line.say(CHUNKS + b"1\r\na\r\n")
        await until(lambda: caller.body == b"a")
        caller.left.set()
        if drain_s:
            await until(lambda: ways[0].pool.draining == 1)
            await line.say(b"2\r\nbc\r\n0\r\n\r\n")
        else:
            assert await line.closed() == b""

    async with leading_to(script) as (_, way):
        ways.append(way)
        await forwarded(way, caller, drain_s=drain_s)
    assert (caller.body, caller.ended) == (body, drain_s > 0)


async def test_a_caller_that_hears_nothing_is_as_good_as_gone() -> None:
    async with leading_to(saying(OK)) as (served, way):
        caller = Caller(deaf=True)
        assert (await forwarded(way, caller)).delivered
        assert len(served.lines) == 1


async def silent(line: Line) -> None:
    await line.closed()


async def test_what_never_came_whole_was_never_delivered() -> None:
    """Neither too much of a body, nor half of one."""
    async with leading_to(silent) as (_, way):
        with pytest.raises(MetergateError, match="at most 3 bytes"):
            await forwarded(way, Caller(b"ab", b"cd"), room=3)
        half = Caller(b"ab", b"", leaves=True)
        assert not (await forwarded(way, half, length=4)).delivered
        assert not half.status


async def test_an_upstream_that_fails_is_the_fronts_to_tell() -> None:
    async with leading_to(saying(b"nonsense\r\n\r\n")) as (_, way):
        with pytest.raises(UpstreamError):
            await forwarded(way, Caller(b""), length=0)
