"""The server of `metergate serve` in this process, around an app that each test writes itself."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from metergate.cli import serving
from metergate.core.policy import Serve
from tests.upstream.house import Line
from tests.waiting import DEADLINE_S

HOST = b"Host: public.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


class Served:
    def __init__(self, server: serving.Server) -> None:
        self.server = server
        self.port = int(server.url.rpartition(":")[2])

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Line]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield Line(reader, writer)
        finally:
            writer.close()

    async def say(self, request: bytes) -> bytes:
        """Everything that comes back for some bytes, until the server closes."""
        async with self.dial() as line:
            await line.say(request)
            return await line.closed()


@asynccontextmanager
async def served(app: ASGIApp, **bounds: Any) -> AsyncIterator[Served]:
    """The app, served within bounds."""
    server = serving.server(app, serving.bound("127.0.0.1", 0), Serve(grace_us=10**6, **bounds))
    task = asyncio.create_task(server.run())
    try:
        await server.up.wait()
        yield Served(server)
    finally:
        server.inner.should_exit = True
        await task


def saying(body: bytes = b"ok", *headers: tuple[bytes, bytes], status: int = 200) -> ASGIApp:
    """An app that says this to everybody, without hearing anything."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start(*headers, length=len(body), status=status))
            await send({"type": "http.response.body", "body": body})

    return app


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path and the body, when it has all of it."""
    if scope["type"] == "http":
        told = scope["raw_path"] + b" " + await heard(receive)
        await send(start(length=len(told)))
        await send({"type": "http.response.body", "body": told})


async def heard(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("The client has left.")
        body, more = body + message["body"], message["more_body"]
    return body


def start(*headers: tuple[bytes, bytes], length: int | None = None, status: int = 200) -> Message:
    sized = [] if length is None else [(b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": status, "headers": [*sized, *headers]}


def statuses(answers: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def headers(answer: bytes) -> Mapping[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]
