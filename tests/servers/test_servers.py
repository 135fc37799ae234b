"""The same promises under uvicorn, hypercorn, granian and the server of `metergate serve`."""

import asyncio
import json
from collections.abc import Iterator

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.servers.serving import SERVERS, Server, serving
from tests.waiting import DEADLINE_S

ADDED = {b"metergate-request-id", b"metergate-cost", b"metergate-balance"}


@pytest.fixture(scope="module", params=["raw_app", "fastapi_app"])
def app(request: pytest.FixtureRequest) -> str:
    return f"tests.servers.{request.param}:app"


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, app: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(request.param, app, tmp_path_factory.mktemp("served")) as found:
        yield found


async def test_calls_are_served_until_the_credits_are_used_up(server: Server) -> None:
    """With cost and balance on every answer, and a refusal that says why."""
    key = await server.customer("poor", "0.03")
    async with server.client(key) as client:
        for left in ("0.02", "0.01", "0.00"):
            answer = await client.get("/public-no-more")
            assert answer.is_success
            assert answer.headers["metergate-cost"] == "0.01"
            assert answer.headers["metergate-balance"] == left
            assert answer.headers["metergate-request-id"]
        answer = await client.get("/public-no-more")
        assert answer.status_code == 402
        assert answer.json()["reason"] == "insufficient_credits"
        assert answer.headers["content-type"] == "application/problem+json"
    assert len(await server.rows("poor")) == 3


def others(answer: httpx2.Response) -> list[tuple[bytes, bytes]]:
    """The headers that do not tell of metergate or of the moment."""
    pairs = [(name.lower(), value) for name, value in answer.headers.raw]
    return [(name, value) for name, value in pairs if name not in ADDED | {b"date"}]


async def test_the_answer_is_that_of_the_bare_app(server: Server) -> None:
    """Byte for byte, but for the headers that are promised."""
    key = await server.customer("curious")
    async with server.client(key) as client:
        bare = await client.post("/bare/echo?a=1&b=%2F", content=b"sent")
        for _ in range(2):
            answer = await client.post("/echo?a=1&b=%2F", content=b"sent")
            assert (answer.status_code, answer.content) == (bare.status_code, bare.content)
            assert others(answer) == others(bare)
            assert {name for name, _ in answer.headers.raw if name.startswith(b"metergate-")} == ADDED
        assert not [name for name in bare.headers if name.startswith("metergate-")]


async def test_the_first_chunk_arrives_before_the_second_exists(server: Server) -> None:
    """It is made only when the client, who has the first, asks for it."""
    key = await server.customer("listener")
    async with server.client(key) as client, client.stream("GET", "/stream/heard") as answer:
        parts = answer.aiter_raw()
        assert await anext(parts) == b"first"
        assert (await client.post("/free/go/heard")).is_success
        assert b"".join([part async for part in parts]) == b"second"
    (row,) = await server.rows("listener", at_least=1)
    assert (row["units"], row["measured"]) == (1, "measured")


async def test_a_client_that_leaves_is_settled(server: Server) -> None:
    """It paid for what it began; nothing stays held."""
    key = await server.customer("hasty")
    async with server.client(key) as client, client.stream("GET", "/stream/unheard") as answer:
        assert await anext(answer.aiter_raw()) == b"first"
    (row,) = await server.rows("hasty", at_least=1)
    assert (row["units"], row["measured"]) == (1, "cut")
    assert await server.balance("hasty") == "0.99"


async def test_a_socket_is_metered_by_its_messages(server: Server) -> None:
    """And closed with the first one that the credits do not cover."""
    key = await server.customer("talker", "0.05")
    url = server.url.replace("http", "ws") + "/ws"
    async with (
        asyncio.timeout(DEADLINE_S),
        connect(url, additional_headers={"authorization": f"Bearer {key}"}) as socket,
    ):
        for number in range(4):
            await socket.send(f"message {number}")
            assert await socket.recv() == f"message {number}"
        await socket.send("one too many: two more are held at once, and only one could be paid")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4402, "insufficient_credits")
    rows = await server.rows("talker", at_least=2)
    assert [(row["meter"], row["units"]) for row in rows] == [("messages", 2)] * 2
    assert await server.balance("talker") == "0.01"


async def test_a_socket_that_cannot_be_paid_is_never_opened(server: Server) -> None:
    """The handshake gets the whole refusal; nothing is charged or held."""
    key = await server.customer("broke", "0.01")
    url = server.url.replace("http", "ws") + "/ws"
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, additional_headers={"authorization": f"Bearer {key}"})
    assert refused.value.response.status_code == 402
    assert json.loads(refused.value.response.body)["reason"] == "insufficient_credits"
    assert await server.rows("broke") == []
    assert await server.balance("broke") == "0.01"


@pytest.mark.parametrize("path", ["/a//b", "/a/%2e%2e/free/b", "/a%2Fb", "/public%2f..%2fa"])
async def test_a_path_that_can_be_read_in_two_ways_is_refused(server: Server, path: str) -> None:
    """Whatever the server makes of it before the gate sees it."""
    port = int(server.url.rpartition(":")[2])
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        told = await reader.read()
        writer.close()
    assert told.startswith(b"HTTP/1.1 400 ")
    assert b'"reason":"bad_request"' in told
