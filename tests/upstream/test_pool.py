"""Connections are kept, counted, and never used for one request twice."""

import asyncio
import os
import socket
from collections import Counter

import pytest

from metergate.upstream import UpstreamError
from tests.upstream.house import GET, OK, Line, ask, line_of, repeating, rest, serving
from tests.waiting import until


async def test_requests_one_after_another_share_a_connection() -> None:
    async with serving(repeating()) as served:
        pool = served.pool()
        for _ in range(5):
            assert await rest(await ask(pool)) == b"ok"
        assert len(served.lines) == 1


async def test_requests_at_once_have_a_connection_each() -> None:
    together = asyncio.Barrier(3)

    async def script(line: Line) -> None:
        while await line.head():
            await together.wait()
            await line.say(OK)

    async with serving(script) as served:
        pool = served.pool()
        answers = await asyncio.gather(*[ask(pool) for _ in range(3)])
        assert [await rest(answer) for answer in answers] == [b"ok"] * 3
        assert len(served.lines) == 3


async def test_no_more_connections_than_allowed() -> None:
    """Whoever comes later waits, in order, for one that is given back."""
    open_now: Counter[str] = Counter()
    most = 0

    async def script(line: Line) -> None:
        nonlocal most
        open_now["lines"] += 1
        most = max(most, open_now["lines"])
        while await line.head():
            await asyncio.sleep(0.001)
            await line.say(OK)
        open_now["lines"] -= 1

    async with serving(script) as served:
        pool = served.pool(connections=2)

        async def call() -> bytes:
            return await rest(await ask(pool))

        assert await asyncio.gather(*[call() for _ in range(20)]) == [b"ok"] * 20
        assert (len(served.lines), most) == (2, 2)


async def test_a_closed_connection_makes_room_for_who_waits() -> None:
    async with serving(
        repeating(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    ) as served:
        pool = served.pool(connections=1)
        answers = await asyncio.gather(*[ask(pool) for _ in range(5)])
        assert [await rest(answer) for answer in answers] == [b"ok"] * 5
        assert len(served.lines) == 5


async def test_who_cannot_even_wait_is_told_at_once() -> None:
    async with serving(Line.closed) as served:  # type: ignore[arg-type]  # it reads and never answers
        pool = served.pool(connections=1, waiting=0)
        await pool.connect()
        with pytest.raises(UpstreamError) as error:
            await pool.connect()
        assert error.value.refusal is not None
        assert (error.value.refusal.status, error.value.refusal.retry_after_us) == (503, 10**6)


async def test_who_waits_is_told_when_it_takes_too_long() -> None:
    async with serving(Line.closed) as served:  # type: ignore[arg-type]
        pool = served.pool(connections=1, connect_us=20_000)
        await pool.connect()
        with pytest.raises(UpstreamError) as error:
            await pool.connect()
        assert error.value.reason == "upstream_busy"


async def test_who_leaves_the_queue_takes_nothing_along() -> None:
    async with serving(repeating()) as served:
        pool = served.pool(connections=1)
        first = await pool.connect()
        leaving = [asyncio.ensure_future(pool.connect()) for _ in range(3)]
        staying = asyncio.ensure_future(pool.connect())
        await asyncio.sleep(0)
        leaving[0].cancel()
        response = first.send(GET, pool.pulse.now)
        leaving[1].cancel()
        await response.begun()
        leaving[2].cancel()  # perhaps in the moment in which it is its turn
        assert await asyncio.wait_for(staying, 5) is first
        assert await asyncio.gather(*leaving, return_exceptions=True) != []


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    """Nothing was sent over it, so the request goes over another: once."""
    seen: Counter[bytes] = Counter()

    async def script(line: Line) -> None:
        seen[await line.head()] += 1
        await line.say(OK)  # and closes without having said so

    async with serving(script) as served:
        pool = served.pool()
        for number in range(3):
            request = b"GET /%d HTTP/1.1\r\nhost: here\r\n\r\n" % number
            assert await rest(await ask(pool, request)) == b"ok"
            await until(lambda: not pool.connections)
        assert sorted(seen.values()) == [1, 1, 1]


async def test_an_end_that_the_loop_has_not_seen_is_seen_before_sending() -> None:
    """The socket of a connection that was idle for a while is looked into."""
    async with serving(repeating()) as served:
        pool = served.pool(beat_s=60.0)
        connection = await pool.connect()
        await rest(connection.send(GET, pool.pulse.now))
        fd = os.dup(served.lines[0].writer.get_extra_info("socket").fileno())
        with socket.socket(fileno=fd) as same:
            same.shutdown(socket.SHUT_RDWR)  # at once, before the loop turns
        pool.pulse.now += 1.0
        assert not connection.is_lost
        assert pool.take() is None


async def test_a_request_that_was_sent_is_never_sent_again() -> None:
    """The upstream closes as soon as it has read it: served or not, nobody can know."""
    seen: Counter[bytes] = Counter()

    async def script(line: Line) -> None:
        while head := await line.head():
            seen[head] += 1
            if head.startswith(b"GET /cut"):
                return
            await line.say(OK)

    async with serving(script) as served:
        pool = served.pool()
        await rest(await ask(pool))
        with pytest.raises(UpstreamError, match="before its answer") as error:
            await ask(pool, b"GET /cut HTTP/1.1\r\nhost: here\r\n\r\n")
        assert error.value.reason == "upstream_unreachable"
        assert sorted(seen.values()) == [1, 1]


async def test_an_upstream_that_is_not_there_is_unreachable() -> None:
    async with serving(repeating()) as served:
        pool = served.pool()
    with pytest.raises(UpstreamError) as error:
        await pool.connect()
    assert error.value.reason == "upstream_unreachable"
    assert error.value.refusal is not None
    assert "127.0.0.1" not in error.value.refusal.sentence  # clients hear nothing of what is behind


async def test_room_that_a_failed_connection_took_is_given_back() -> None:
    async with serving(repeating()) as served:
        pool = served.pool(connections=1)
        good, served_port = pool.origin, served.port
        pool.origin = good._replace(port=1)
        for _ in range(3):
            with pytest.raises(UpstreamError):
                await pool.connect()
        pool.origin = good
        assert await rest(await ask(pool)) == b"ok"
        assert served_port == good.port


async def test_an_idle_connection_is_closed_before_the_upstream_does_it() -> None:
    """A second less than its Keep-Alive promises."""
    async with serving(
        repeating(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=9\r\nContent-Length: 2\r\n\r\nok")
    ) as served:
        pool = served.pool()
        await rest(await ask(pool))
        await until(lambda: not pool.connections)


async def test_a_closed_pool_lets_go_of_what_is_idle_and_of_the_rest_when_it_ends() -> None:
    async with serving(repeating()) as served:
        pool = served.pool()
        idle, busy = await pool.connect(), await pool.connect()
        await rest(idle.send(GET, pool.pulse.now))
        response = busy.send(GET, pool.pulse.now)
        pool.close()
        assert await rest(response) == b"ok"
        await until(lambda: not pool.connections)


async def test_many_at_random_are_each_answered_once() -> None:
    """Whatever the upstream does to its connections."""
    seen: Counter[bytes] = Counter()

    async def script(line: Line) -> None:
        for turn in range(3):
            head = await line.head()
            if not head:
                return
            seen[head] += 1
            await line.say(OK if turn < 2 else OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))

    async with serving(script) as served:
        pool = served.pool(connections=7)

        async def call(number: int) -> bytes:
            return await rest(await ask(pool, b"GET /%d HTTP/1.1\r\nhost: here\r\n\r\n" % number))

        assert await asyncio.gather(*[call(number) for number in range(300)]) == [b"ok"] * 300
        assert len(seen) == 300
        assert set(seen.values()) == {1}
        assert (await line_of(pool)) is not None
