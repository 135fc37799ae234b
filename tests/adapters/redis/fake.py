"""A front for fakeredis that speaks as a server does; its own hangs up after every error that it answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import hiredis
from fakeredis import FakeRedis
from redis.exceptions import RedisError


@asynccontextmanager
async def fake_server(folder: Path) -> AsyncIterator[str]:
    """The address of an empty fake."""
    fake = FakeRedis(server_type="valkey")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = hiredis.Reader()
        while data := await reader.read(65536):
            requests.feed(data)
            while (request := requests.gets()) is not False:
                assert isinstance(request, list)
                writer.write(_answer(fake, request))
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, folder / "fake")
    async with server:
        yield f"redis+unix://{folder / 'fake'}?timeout=10s&takeover=200ms"


def _answer(fake: FakeRedis, request: list[bytes]) -> bytes:
    try:
        return _encoded(fake.execute_command(*request))  # type: ignore[no-untyped-call]  # redis-py has no types here
    except RedisError as error:
        text = " ".join(str(error).split())
        known = text.partition(" ")[0].isupper()
        return f"-{text if known else 'ERR ' + text}\r\n".encode()


def _encoded(reply: object) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(_encoded, reply))
    text = reply if isinstance(reply, bytes) else str(reply).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)
