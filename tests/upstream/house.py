"""An upstream that says what a test wants, byte for byte, and a pool of connections to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from metergate.core.policy import Upstream
from metergate.upstream import Pool, Pulse, Response
from metergate.upstream.connection import Connection
from tests.waiting import DEADLINE_S

GET = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Line:
    """One connection as the upstream sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The next head, up to its empty line; empty when the other side has closed."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def closed(self) -> bytes:
        """What else came until the other side closed."""
        return await self.reader.read()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Line], Awaitable[None]]


class Served:
    """A script at work, and a pool that leads to it."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.scripts: list[asyncio.Task[None]] = []
        self.port = 0
        self.pools: list[Pool] = []

    def pool(self, beat_s: float = 0.01, scheme: str = "http", **options: Any) -> Pool:
        host = "localhost" if scheme == "https" else "127.0.0.1"
        upstream = Upstream(f"{scheme}://{host}:{self.port}", **options)
        found = Pool(upstream, Pulse(asyncio.get_running_loop(), beat_s))
        self.pools.append(found)
        return found


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Served]:
    """A raw server that plays the script on every connection. What goes wrong in it fails the test."""
    served = Served()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        served.lines.append(line)
        try:
            await script(line)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the client left
            pass
        finally:
            writer.close()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.scripts.append(asyncio.ensure_future(play(reader, writer)))

    async with asyncio.timeout(DEADLINE_S):
        server = await asyncio.start_server(accepted, "127.0.0.1", port, ssl=tls)
        served.port = server.sockets[0].getsockname()[1]
        try:
            yield served
        finally:
            server.close()
            for pool in served.pools:
                pool.close()
                for each in tuple(pool.connections):
                    each.abandon()
                pool.pulse.stop()
            for task in served.scripts:
                task.cancel()
            failures = await asyncio.gather(*served.scripts, return_exceptions=True)
        for failure in failures:
            if isinstance(failure, Exception):
                raise failure


async def line_of(pool: Pool) -> Connection:
    return pool.take() or await pool.connect()


async def ask(pool: Pool, request: bytes = GET, **options: Any) -> Response:
    """The response to a request, as soon as its head is here."""
    connection = await line_of(pool)
    response = connection.send(request, pool.pulse.now, **options)
    await response.begun()
    return response


async def rest(response: Response) -> bytes:
    body = b""
    while chunk := await response.read():
        body += chunk
    return body


def saying(*parts: bytes) -> Script:
    """Answers the first request with these bytes, part by part, and closes."""

    async def script(line: Line) -> None:
        await line.head()
        for part in parts:
            await line.say(part)
            await asyncio.sleep(0)

    return script


def repeating(answer: bytes = OK) -> Script:
    """Answers every request alike."""

    async def script(line: Line) -> None:
        while await line.head():
            await line.say(answer)

    return script
