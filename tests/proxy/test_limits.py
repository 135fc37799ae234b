"""What a client may send is bounded, in size and in time, and so is what waits for it in memory."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.proxy.house import POLICY, Gateway, Line, Log, body, gateway, get, header, status
from tests.proxy.test_leaving import resident_kb
from tests.waiting import DEADLINE_S, until

BOUNDS: dict[str, Any] = {
    "url_bytes": 1000,
    "header_bytes": 4000,
    "header_count": 20,
    "body_bytes": 1000,
    "head_within": "1s",
    "body_silence": "1s",
    "read_silence": "1s",
    "keep_alive": "1s",
    "connections_per_address": 20,
    "hosts": ["public.example", "other.example:8080"],
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("bounded"), {**POLICY, "serve": BOUNDS}) as made:
        yield made


def reason(answer: bytes) -> tuple[int, str]:
    """Status and reason of a refusal that no app has seen; it closes the connection."""
    assert header(answer, "content-type") == "application/problem+json"
    assert header(answer, "connection") == "close"
    assert (header(answer, "metergate-request-id") or "").startswith("req_")
    told = json.loads(body(answer))
    assert told["status"] == status(answer)
    return status(answer), str(told["reason"])


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get("/" + "a" * 999), (401, "key_missing")),
        (get("/" + "a" * 1000), (414, "url_too_long")),
        (get("/a?" + "b" * 10_000), (414, "url_too_long")),
        (get("/a", "", *["x-a: 1"] * 18), (401, "key_missing")),
        (get("/a", "", *["x-a: 1"] * 19), (431, "headers_too_large")),
        (get("/a", "", "x-a: " + "b" * 3900), (401, "key_missing")),
        (get("/a", "", "x-a: " + "b" * 4000), (431, "headers_too_large")),
        (get("/a", "", "x-" + "a" * 4000 + ": b"), (431, "headers_too_large")),
        (b"GET /a HTTP/1.1\r\nhost: public.example\r\nx-a: " + b"b" * 500_000, (431, "headers_too_large")),
        (b"\r\n" * 400_000, (431, "headers_too_large")),
        (b"GET /" + b"a" * 300_000, (414, "url_too_long")),
    ],
)
async def test_heads_are_bounded(proxy: Gateway, request_bytes: bytes, expected: tuple[int, str]) -> None:
    answer = await proxy.say(request_bytes)
    if expected[0] == 401:
        assert status(answer) == 401
    else:
        assert reason(answer) == expected


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ("GET /a HTTP/1.1", "Host header"),
        ("GET /a HTTP/1.1\r\nhost: a\r\nhost: a", "one Host header"),
        ("GET /a HTTP/1.1\r\nhost: a b", "names a host"),
        ("GET /a HTTP/1.1\r\nhost: a/b@c", "names a host"),
        ("GET /a HTTP/1.1\r\nhost: evil.example", "not served here"),
        ("GET /a HTTP/1.1\r\nhost: other.example", "not served here"),
        ("GET http://public.example/a HTTP/1.1\r\nhost: public.example", "begins with a slash"),
        ("OPTIONS * HTTP/1.1\r\nhost: public.example", "begins with a slash"),
        ("GET /a#b HTTP/1.1\r\nhost: public.example", "no fragment"),
        (
            "POST /a HTTP/1.0\r\nhost: public.example\r\ntransfer-encoding: chunked",
            "without a Transfer-Encoding",
        ),
        ("POST /a HTTP/1.1\r\nhost: public.example\r\ntransfer-encoding: gzip, chunked", "but chunked"),
        ("GET /a HTTP/1.2\r\nhost: public.example", "cannot be read"),
        ("get /a HTTP/1.1\r\nhost: public.example", "cannot be read"),
        (
            "GET / HTTP/1.1\r\nhost: public.example\r\nupgrade: a\r\nconnection: upgrade\r\ncontent-length:3",
            "no body with a request for another protocol",
        ),
    ],
)
async def test_what_cannot_be_read_in_one_way_is_refused(proxy: Gateway, head: str, sentence: str) -> None:
    """And nothing behind it is read."""
    answer = await proxy.say(head.encode() + b"\r\n\r\n" + get("/a"))
    assert reason(answer) == (400, "bad_request")
    assert sentence in json.loads(body(answer))["detail"]
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_host_with_its_port_is_another_host(proxy: Gateway) -> None:
    assert status(await proxy.say(get("/a").replace(b"public.example", b"Other.example:8080"))) == 401


async def test_a_refusal_waits_for_the_answers_before_it(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    going = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await going.wait()
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    kept = get("/a", key).replace(b"connection: close\r\n", b"")
    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(kept + b"NONSENSE\r\n\r\n")
        await asyncio.sleep(0.05)
        going.set()
        answer = await client.closed()
    first, _, second = answer.partition(b"\r\n\r\nok")
    assert status(first) == 200
    assert reason(second) == (400, "bad_request")


async def test_a_body_beyond_its_bound_is_413_and_can_be_read(proxy: Gateway) -> None:
    """The client goes on sending; it hears why it is in vain before the connection closes."""
    key = await proxy.customer("bulky")
    log = Log()
    async with proxy.upstream(log), proxy.dial() as client:
        await client.say(get("/a", key, "content-length: 500000", method="POST"))
        await client.say(b"x" * 300_000)
        answer = await client.closed()
    assert status(answer) == 413
    assert log.heads == []
    assert await proxy.balance("bulky") == "1.00"


async def test_a_refused_call_leaves_the_connection_usable(proxy: Gateway) -> None:
    """When the rest of its body is small enough to be thrown away."""
    key = await proxy.customer_once()
    async with proxy.upstream(Log()), proxy.dial() as client:
        await client.say(
            get("/a", "", "content-length: 900", method="POST").replace(b"connection: close\r\n", b"")
        )
        told = await client.head()
        assert status(told) == 401
        await client.reader.readexactly(int(header(told, "content-length") or 0))
        await client.say(b"x" * 900 + get("/a", key))
        assert status(await client.closed()) == 200


async def test_a_body_that_nobody_wants_does_not_go_on_for_ever(proxy: Gateway) -> None:
    async with proxy.dial() as client:
        await client.say(
            get("/a", "", "transfer-encoding: chunked", method="POST").replace(b"connection: close\r\n", b"")
        )
        assert status(await client.head()) == 401
        with pytest.raises(ConnectionError):
            await client.say((b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n") * 1000)


# -- time ----------------------------------------------------------------------------------------------------


async def drip(client: Line, data: bytes) -> None:
    for byte in data:
        await client.say(bytes([byte]))
        await asyncio.sleep(0.05)


async def test_a_slow_head_is_408(proxy: Gateway) -> None:
    """However steadily it drips."""
    async with proxy.dial() as client:
        dripping = asyncio.ensure_future(drip(client, get("/a", "", "x-a: " + "b" * 500)))
        answer = await asyncio.wait_for(client.closed(), 5)
        dripping.cancel()
    assert reason(answer) == (408, "too_slow")


async def test_a_body_that_stops_is_408_and_costs_nothing(proxy: Gateway) -> None:
    """The upstream, which waits for the rest, is let go."""
    key = await proxy.customer("sleepy")
    left = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await line.closed()
        left.set()

    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(get("/a", key, "content-length: 500", method="POST") + b"x" * 100)
        answer = await asyncio.wait_for(client.closed(), 5)
        await left.wait()
    assert reason(answer) == (408, "too_slow")
    assert await proxy.balance("sleepy") == "1.00"


async def test_a_connection_without_a_request_is_closed(proxy: Gateway) -> None:
    async with proxy.dial() as client:
        assert await asyncio.wait_for(client.closed(), 5) == b""


async def test_an_idle_connection_is_closed(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    async with proxy.upstream(Log()), proxy.dial() as client:
        await client.say(get("/a", key).replace(b"connection: close\r\n", b""))
        assert status(await asyncio.wait_for(client.closed(), 5)) == 200


async def test_a_slow_answer_is_no_fault_of_the_client(proxy: Gateway) -> None:
    key = await proxy.customer_once()

    async def script(line: Line) -> None:
        await line.head()
        await asyncio.sleep(2.5)
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with proxy.upstream(script):
        assert status(await proxy.say(get("/a", key))) == 200


async def test_a_client_that_does_not_read_is_cut_off(proxy: Gateway) -> None:
    """What waits for it is bounded; the upstream is stopped, and what went out is settled."""
    key = await proxy.customer("deaf", "100.00")
    sent = 0
    stopped = asyncio.Event()

    async def script(line: Line) -> None:
        nonlocal sent
        await line.head()
        await line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await line.say(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                sent += 0x10000
        finally:
            stopped.set()

    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", proxy.port))
        async with proxy.upstream(script):
            client.sendall(get("/bytes/a", key))
            await asyncio.wait_for(stopped.wait(), 8)
    assert sent < 32 << 20
    [row] = await proxy.rows("deaf", at_least=1)
    assert row["measured"] == "cut"


# -- how many ------------------------------------------------------------------------------------------------


async def test_an_address_has_so_many_connections(proxy: Gateway) -> None:
    """One more hears 429 at once; when one ends, there is room again."""
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(proxy.dial())
        async with proxy.dial() as client:
            answer = await client.closed()
        assert reason(answer) == (429, "too_many_connections")
        assert header(answer, "retry-after") == "1"
    async with asyncio.timeout(DEADLINE_S):
        while status(await proxy.say(get("/a"))) != 401:  # noqa: ASYNC110 - it is the server that notices
            await asyncio.sleep(0.01)


async def test_too_many_requests_ahead_of_their_answers_are_refused(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    kept = get("/a", key).replace(b"connection: close\r\n", b"")
    async with proxy.upstream(Log()):
        answer = await proxy.say(kept * 100)
    assert answer.count(b"HTTP/1.1 200") <= 33
    assert answer.count(b"HTTP/1.1 429") == 1


async def test_memory_is_bounded_by_what_is_open(proxy: Gateway) -> None:
    """Hundreds of clients send 200 MB of heads without end, and leave next to nothing behind."""

    async def client() -> None:
        async with proxy.dial() as line:
            try:
                await line.say(b"GET /a HTTP/1.1\r\nhost: public.example\r\n")
                await line.say(b"x: " + b"y" * 3000 + b"\r\n")
                await line.say(b"z" * 200_000)
            except ConnectionError:
                pass

    async def crowd() -> None:
        for _ in range(20):
            await asyncio.gather(*[client() for _ in range(15)])

    await crowd()
    before = resident_kb(proxy.process.pid)
    for _ in range(3):
        await crowd()
    await until(lambda: resident_kb(proxy.process.pid) - before < 24_000)
