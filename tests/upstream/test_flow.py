"""Neither side is read faster than the other takes it."""

import asyncio

from tests.upstream.house import OK, Line, rest, serving
from tests.waiting import until

MEGABYTES = 16
PIECE = b"x" * 65_536


async def test_an_upstream_faster_than_its_reader_is_paused() -> None:
    """What waits in memory stays small, however much there is."""
    sent = 0

    async def script(line: Line) -> None:
        nonlocal sent
        await line.head()
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MEGABYTES << 20))
        while sent < MEGABYTES << 20:
            await line.say(PIECE)
            sent += len(PIECE)
        await line.closed()

    async with serving(script) as served:
        pool = served.pool()
        connection = await pool.connect()
        response = connection.send(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n", pool.pulse.now)
        await until(lambda: response.size > 65_536)
        stuck = -1
        while stuck != sent:
            stuck = sent
            await asyncio.sleep(0.05)
        assert response.size < 2 << 20
        assert sent < MEGABYTES << 20
        assert len(await rest(response)) == MEGABYTES << 20
        assert pool.take() is connection


async def test_an_upstream_that_does_not_read_holds_the_request_up() -> None:
    reads = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await reads.wait()
        await line.reader.readexactly(MEGABYTES << 20)
        await line.say(OK)

    async with serving(script) as served:
        pool = served.pool()
        connection = await pool.connect()
        head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % (MEGABYTES << 20)
        response = connection.send(head, pool.pulse.now, more=True)
        written = 0

        async def upload() -> None:
            nonlocal written
            while written < MEGABYTES << 20:
                connection.write(PIECE)
                written += len(PIECE)
                await connection.room()
            connection.sent()

        uploading = asyncio.ensure_future(upload())
        stuck = -1
        while stuck != written:
            stuck = written
            await asyncio.sleep(0.05)
        assert 0 < written < MEGABYTES << 20
        assert connection.transport.get_write_buffer_size() < 1 << 20
        reads.set()
        await uploading
        assert await rest(response) == b"ok"


async def test_a_lost_connection_lets_the_writer_go() -> None:
    async def script(line: Line) -> None:
        await line.head()
        await asyncio.sleep(0.05)
        line.reset()

    async with serving(script) as served:
        pool = served.pool()
        connection = await pool.connect()
        head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % (MEGABYTES << 20)
        response = connection.send(head, pool.pulse.now, more=True)
        for _ in range(MEGABYTES << 4):
            connection.write(PIECE)
            await connection.room()
        assert response.error is not None
