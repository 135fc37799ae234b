"""An upstream has so much time, and no call a timer of its own."""

import asyncio
import socket

import pytest

from metergate.upstream import UpstreamError
from tests.upstream.house import GET, OK, Line, ask, rest, saying, serving
from tests.waiting import until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def silent(line: Line) -> None:
    await line.head()
    await line.closed()


async def test_an_upstream_that_does_not_begin_is_left() -> None:
    async with serving(silent) as served:
        pool = served.pool(first_byte_us=30_000)
        with pytest.raises(UpstreamError, match="silent") as error:
            await ask(pool)
        assert error.value.refusal is not None and error.value.refusal.status == 504
        await until(lambda: not pool.connections)


async def test_one_that_begins_may_be_silent_for_another_while() -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.say(CHUNKED + b"1\r\na\r\n")
        await line.closed()

    async with serving(script) as served:
        response = await ask(served.pool(first_byte_us=10**9, silence_us=30_000))
        assert await response.read() == b"a"
        with pytest.raises(UpstreamError, match="silent"):
            await response.read()


async def test_one_that_keeps_talking_is_not_silent() -> None:
    """Unless everything together takes too long."""

    async def script(line: Line) -> None:
        await line.head()
        await line.say(CHUNKED)
        while not line.reader.at_eof():
            await line.say(b"1\r\na\r\n")
            await asyncio.sleep(0.005)

    async with serving(script) as served:
        pool = served.pool(silence_us=60_000, total_us=300_000)
        response = await ask(pool)
        began = pool.pulse.now
        with pytest.raises(UpstreamError, match="altogether"):
            await rest(response)
        assert pool.pulse.now - began > 0.25


async def test_a_reader_that_takes_its_time_is_not_the_upstreams_silence() -> None:
    big = b"x" * 1_000_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(big)
    async with serving(saying(head + big)) as served:
        pool = served.pool(silence_us=30_000)
        response = await ask(pool)
        await until(lambda: response.size > 65_536)
        beats = pool.pulse.now
        await until(lambda: pool.pulse.now > beats + 0.1)
        assert await rest(response) == big


async def test_a_connection_that_is_not_made_in_time_is_given_up() -> None:
    """A listener whose queue is full answers nothing at all."""
    listener = await asyncio.get_running_loop().run_in_executor(None, full_listener)
    async with serving(silent) as served:
        served.port = listener[0].getsockname()[1]
        pool = served.pool(connect_us=50_000)
        with pytest.raises(UpstreamError, match="did not take the connection in time") as error:
            await pool.connect()
        assert error.value.reason == "upstream_timeout"
    for each in listener:
        each.close()


def full_listener() -> list[socket.socket]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    found = [listener]
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        found.append(client)
    return found


async def test_the_pulse_stops_when_nothing_is_open() -> None:
    async with serving(saying(OK)) as served:
        pool = served.pool()
        await rest(await ask(pool, GET))
        await until(lambda: not pool.connections)
        await until(lambda: pool.pulse._timer is None)
