"""An app that embeds the middleware, under uvicorn with our bounds: what it could not refuse is refused."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.proxy.house import get, header, status
from tests.servers.serving import Server, serving
from tests.waiting import DEADLINE_S


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("ours", "tests.servers.raw_app:app", tmp_path_factory.mktemp("bounded")) as found:
        yield found


async def said(server: Server, request: bytes) -> bytes:
    port = int(server.url.rpartition(":")[2])
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get("/a"), 401),
        (get("/" + "a" * 8192), 414),
        (get("/a", "", "x-a: " + "b" * 65_536), 431),
        (get("/a", "", *["x-a: 1"] * 128), 431),
        (get("/a", "", "content-length: 3", "transfer-encoding: chunked", method="POST") + b"abc", 400),
        (get("/a").replace(b"GET /a", b"GET http://evil.example/a"), 400),
        (get("/a", "", "host: second.example"), 400),
    ],
)
async def test_heads_are_bounded_and_read_in_one_way(
    server: Server, request_bytes: bytes, expected: int
) -> None:
    answer = await said(server, request_bytes)
    assert status(answer) == expected
    assert header(answer, "content-type") == "application/problem+json"


async def test_a_slow_head_is_408(server: Server) -> None:
    answer = await said(server, get("/a")[:-2])
    assert status(answer) == 408
