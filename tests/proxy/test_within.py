"""The proxy in this process: the same server and client, where a debugger and the coverage can see them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from metergate.asgi.token_holds import Stopped
from metergate.asgi.types import Message
from metergate.bootstrap import Gateway
from metergate.config.settings import Settings
from tests.ports import free_port
from tests.proxy.house import POLICY, body, get, header, status
from tests.server import house
from tests.server.house import statuses
from tests.upstream.house import Line, Script, serving
from tests.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"a\r\n" + b"x" * 10 + b"\r\n"


class Within(house.Served):
    """The proxy on a port, one customer, and an upstream that the test plays."""

    app: Gateway
    key: str

    async def rows(self, count: int) -> list[dict[str, Any]]:
        """What was charged, as soon as it is so many."""
        found: list[dict[str, Any]] = []

        async def told() -> list[dict[str, Any]]:
            return list((await self.app.engine.office.do("usage.list", {"account": "regular"}))["data"])

        while len(found) < count:
            await asyncio.sleep(0.01)
            found = await told()
        return found


@asynccontextmanager
async def within(folder: Path, script: Script | None) -> AsyncIterator[Within]:
    port = free_port()
    policy = folder / "policy.yaml"
    policy.write_text(yaml.safe_dump({**POLICY, "upstream": {"url": f"http://127.0.0.1:{port}"}}))
    app = Gateway(str(policy), settings=Settings(data=folder / "data"))
    await app.start()
    try:
        office = app.engine.office
        await office.do("accounts.create", {"id": "regular"})
        await office.do("credits.grant", {"account": "regular", "amount": "1.00"})
        key = str((await office.do("keys.create", {"account": "regular"}))["key"])
        async with house.served(app) as served:
            found = Within(served.server)
            found.app, found.key = app, key
            if script is None:
                yield found
                return
            async with serving(script, port=port):
                yield found
    finally:
        await app.stop()


def always(answer: bytes, seen: list[bytes]) -> Script:
    async def script(line: Line) -> None:
        while head := await line.head():
            length = header(head, "content-length")
            seen.append(head + (await line.reader.readexactly(int(length)) if length else b""))
            await line.say(answer)

    return script


def kept(request: bytes) -> bytes:
    return request.replace(b"connection: close\r\n", b"")


async def test_requests_follow_each_other_on_one_connection_and_are_charged_once_each(tmp_path: Path) -> None:
    seen: list[bytes] = []
    async with within(tmp_path, always(OK, seen)) as proxy:
        post = get("/c", proxy.key, "content-length: 3", method="POST") + b"abc"
        answer = await proxy.say(kept(get("/a?b=%2F", proxy.key)) + kept(get("/b", proxy.key)) + post)
        assert statuses(answer) == [200, 200, 200]
        assert [request.split(b" HTTP")[0] for request in seen] == [b"GET /a?b=%2F", b"GET /b", b"POST /c"]
        assert seen[2].endswith(b"\r\n\r\nabc")
        rows = await proxy.rows(3)
        assert [(row["units"], row["measured"]) for row in rows] == [(1, "measured")] * 3


async def test_a_long_body_goes_on_as_it_comes_and_is_asked_for_when_it_is_wanted(tmp_path: Path) -> None:
    half = asyncio.Event()

    async def script(line: Line) -> None:
        assert header(await line.head(), "expect") == "100-continue"
        await line.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await line.reader.readexactly(200_000) == b"x" * 200_000
        await line.say(OK)
        assert b"chunked" in await line.head()
        half.set()
        assert await line.reader.readuntil(b"0\r\n\r\n") == b"1\r\ny\r\n0\r\n\r\n"
        await line.say(OK)

    async with within(tmp_path, script) as proxy, proxy.dial() as client:
        sized = ("content-length: 200000", "expect: 100-continue")
        await client.say(kept(get("/a", proxy.key, *sized, method="PUT")))
        assert status(await client.head()) == 100
        await client.say(b"x" * 200_000)
        assert status(await client.head()) == 200
        assert await client.reader.readexactly(2) == b"ok"
        await client.say(get("/a", proxy.key, "transfer-encoding: chunked", method="PUT") + b"1\r\ny\r\n")
        await half.wait()
        await client.say(b"0\r\n\r\n")
        assert status(await client.closed()) == 200


@pytest.mark.parametrize("framed", ["content-length: 11", "transfer-encoding: chunked"])
async def test_a_body_beyond_its_bound_is_refused_and_costs_nothing(tmp_path: Path, framed: str) -> None:
    seen: list[bytes] = []
    sent = b"x" * 11 if "length" in framed else b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"
    async with within(tmp_path, always(OK, seen)) as proxy:
        answer = await proxy.say(get("/short/a", proxy.key, framed, method="POST") + sent)
        assert status(answer) == 413
        assert not seen
        shown = await proxy.app.engine.office.do("credits.show", {"account": "regular"})
    assert shown["balance"]["amount"] == "1.00"


async def test_an_answer_before_the_end_of_the_body_is_the_answer(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await line.closed()

    async with within(tmp_path, script) as proxy:
        answer = await proxy.say(get("/a", proxy.key, "content-length: 900000", method="POST") + b"begun")
    assert (status(answer), body(answer), header(answer, "connection")) == (403, b"no", "close")


async def test_trailers_reach_clients_that_want_them(tmp_path: Path) -> None:
    told = EVENTS.replace(b"Transfer", b"Trailer: x-sum\r\nTransfer") + b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    async with within(tmp_path, always(told, [])) as proxy:
        answer = await proxy.say(get("/a", proxy.key, "te: trailers"))
    assert body(answer) == b"2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", [502, 502]),
        (b"nonsense\r\n\r\n", [502, 502]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nonly", [200]),
        (EVENTS + b"2\r\nok\r\nzz\r\n", [200]),
    ],
)
async def test_an_upstream_that_fails_is_never_taken_for_one_that_answered(
    tmp_path: Path, answer: bytes, expected: list[int]
) -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.say(answer)

    async with within(tmp_path, script) as proxy:
        told = await proxy.say(kept(get("/a", proxy.key)) + get("/a", proxy.key))
    assert statuses(told) == expected
    assert not told.endswith(b"0\r\n\r\n")


async def test_an_upstream_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    async with within(tmp_path, None) as proxy:
        assert statuses(await proxy.say(get("/a", proxy.key))) == [502]
        shown = await proxy.app.engine.office.do("credits.show", {"account": "regular"})
    assert shown["balance"]["amount"] == "1.00"


async def events(line: Line) -> None:
    await line.head()
    await line.say(EVENTS)
    for _ in range(40):
        await line.say(EVENT)
        await asyncio.sleep(0.01)
    await line.say(b"0\r\n\r\n")


@pytest.mark.parametrize(("path", "how"), [("/bytes/a", "cut"), ("/drained/a", "measured")])
async def test_a_client_that_leaves_pays_by_the_policy(tmp_path: Path, path: str, how: str) -> None:
    async with within(tmp_path, events) as proxy:
        async with proxy.dial() as client:
            await client.say(get(path, proxy.key))
            await client.reader.readuntil(EVENT)
        [row] = await proxy.rows(1)
    assert row["measured"] == how
    assert row["units"] == 400 if how == "measured" else 10 <= row["units"] < 400


@pytest.mark.parametrize(
    ("path", "error", "how"),
    [
        ("/bytes/a", ConnectionResetError("The client has left."), "cut"),
        ("/drained/a", ConnectionResetError("The client has left."), "measured"),
        ("/drained/a", Stopped("The account can pay for no more."), "cut"),
    ],
)
async def test_an_error_of_sending_ends_a_call_like_a_client_that_leaves(
    tmp_path: Path, path: str, error: OSError, how: str
) -> None:
    """Some servers raise it; and so does a stream that is stopped, of which nobody would pay the rest."""
    said: list[str] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        said.append(message["type"])
        if message["type"] == "http.response.body":
            raise error

    async with within(tmp_path, events) as proxy:
        shown = [(b"host", b"public.example"), (b"authorization", f"Bearer {proxy.key}".encode())]
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": path,
            "raw_path": path.encode(), "query_string": b"", "headers": shown, "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await proxy.app(scope, receive, send)
        [row] = await proxy.rows(1)
    assert row["measured"] == how
    assert said[:2] == ["http.response.start", "http.response.body"]


async def test_a_socket_passes_messages_and_refusals(tmp_path: Path) -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with within(tmp_path, None) as proxy:
        port = int(str(proxy.app.engine.policy.upstreams[""].url).rpartition(":")[2])
        shown = {"authorization": f"Bearer {proxy.key}"}
        url = f"ws://127.0.0.1:{proxy.port}"
        async with serve(echo, "127.0.0.1", port):
            async with connect(f"{url}/ws/a", additional_headers=shown) as client:
                for message in ("text", b"bytes"):
                    await client.send(message)
                    assert await client.recv() == message
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{url}/a", additional_headers=shown)
            assert refused.value.response.status_code == 403
        async with serving(always(b"HTTP/1.1 418 No\r\nContent-Length: 2\r\n\r\nno", []), port=port):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{url}/ws/a", additional_headers=shown)
            assert refused.value.response.status_code == 418
        await until(lambda: not proxy.server.inner.server_state.connections)
