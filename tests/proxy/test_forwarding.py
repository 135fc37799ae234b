"""Requests and answers go through in every form that HTTP/1.1 has, and nothing waits for its end."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy.house import POLICY, Gateway, Line, Log, body, gateway, get, header, status
from tests.upstream.house import serving
from tests.waiting import until

BIG = 24 << 20
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(target: str, key: str, *headers: str) -> bytes:
    return get(target, key, *headers, method="POST")


async def test_bodies_arrive_whatever_frames_them(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    log = Log()
    async with proxy.upstream(log):
        for framed in (
            post("/a", key, "content-length: 5") + b"hello",
            post("/b", key, "transfer-encoding: chunked")
            + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
            post("/c", key, "content-length: 0"),
            post("/d", key),
        ):
            assert status(await proxy.say(framed)) == 200
    assert log.bodies == [b"hello", b"hello", b"", b""]
    assert b"railer" not in b"".join(log.heads)


async def test_a_body_goes_on_as_it_comes(proxy: Gateway) -> None:
    """Its first half is with the upstream before the client has sent the second."""
    key = await proxy.customer_once()
    halves: list[bytes] = []

    async def script(line: Line) -> None:
        assert header(await line.head(), "content-length") == "8"
        halves.append(await line.reader.readexactly(4))
        halves.append(await line.reader.readexactly(4))
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(post("/a", key, "content-length: 8") + b"half")
        await until(lambda: halves == [b"half"])
        await client.say(b"more")
        assert status(await client.closed()) == 200
    assert halves == [b"half", b"more"]


async def test_a_chunk_arrives_before_the_next_exists(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    heard = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await line.say(SSE + b"7\r\ndata: 1\r\n")
        await heard.wait()
        await line.say(b"7\r\ndata: 2\r\n0\r\n\r\n")

    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(get("/a", key))
        await client.head()
        assert await client.reader.readuntil(b"data: 1\r\n") == b"7\r\ndata: 1\r\n"
        heard.set()
        assert await client.closed() == b"7\r\ndata: 2\r\n0\r\n\r\n"


async def test_much_goes_through_in_both_directions(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    sent = bytes(range(256)) * (BIG // 256)

    async def script(line: Line) -> None:
        await line.head()
        digest = hashlib.sha256(await line.reader.readexactly(BIG)).hexdigest().encode()
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 + BIG))
        await line.say(digest)
        await line.say(sent)

    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(post("/a", key, f"content-length: {BIG}"))
        await client.say(sent)
        answer = await client.closed()
    assert body(answer) == hashlib.sha256(sent).hexdigest().encode() + sent


async def test_head_is_answered_without_a_body_and_charged_as_get(proxy: Gateway) -> None:
    key = await proxy.customer("heady")
    log = Log(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: x\r\n\r\n")
    async with proxy.upstream(log):
        answer = await proxy.say(get("/a", key, method="HEAD"))
    assert (status(answer), header(answer, "content-length"), body(answer)) == (200, "12345", b"")
    assert await proxy.balance("heady") == "0.99"


@pytest.mark.parametrize(
    ("answer", "expected", "content"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', 304, b""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", 404, b"nope"),
        (b"HTTP/1.1 599 Odd\r\nContent-Length: 1\r\n\r\n!", 599, b"!"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!", 200, b"!"),
    ],
)
async def test_every_status_passes(proxy: Gateway, answer: bytes, expected: int, content: bytes) -> None:
    key = await proxy.customer_once()
    async with proxy.upstream(Log(answer)):
        found = await proxy.say(get("/a", key))
    assert (status(found), body(found)) == (expected, content)


async def test_an_encoded_body_is_not_decoded(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    packed = b"\x1f\x8b\x08" + b"\0" * 20
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\nContent-Length: %d\r\n\r\n"
    log = Log(head % len(packed) + packed)
    async with proxy.upstream(log):
        answer = await proxy.say(get("/a", key, "accept-encoding: gzip, zstd;q=0.5"))
    assert (header(answer, "content-encoding"), body(answer)) == ("gzip", packed)
    assert header(log.heads[0], "accept-encoding") == "gzip, zstd;q=0.5"


async def test_a_redirect_is_the_clients_to_follow(proxy: Gateway) -> None:
    """Within the upstream it leads to ours; elsewhere nothing of ours is sent."""
    key = await proxy.customer_once()
    base = f"http://127.0.0.1:{proxy.upstream_port}"
    head = f"HTTP/1.1 302 Found\r\nLocation: {base}/there?x\r\nContent-Length: 0\r\n\r\n".encode()
    log = Log(head)
    async with proxy.upstream(log):
        answer = await proxy.say(get("/a", key))
        log.answer = head.replace(base.encode(), b"http://evil.example")
        away = await proxy.say(get("/a", key))
    assert (status(answer), header(answer, "location")) == (302, "/there?x")
    assert header(away, "location") == "http://evil.example/there?x"
    assert len(log.heads) == 2


async def test_the_environment_leads_nowhere_else(tmp_path: Path) -> None:
    """What it says of proxies is for others: the request goes to the policy's upstream."""
    seen: list[bytes] = []

    async def stranger(line: Line) -> None:
        seen.append(await line.head())

    async with serving(stranger) as elsewhere:
        url = f"http://127.0.0.1:{elsewhere.port}"
        names = ("http_proxy", "https_proxy", "all_proxy")
        environ = {shown: url for name in names for shown in (name, name.upper())}
        with gateway(tmp_path, POLICY, **environ, no_proxy="", NO_PROXY="") as proxy:
            key = await proxy.customer_once()
            async with proxy.upstream(Log()):
                assert status(await proxy.say(get("/a", key))) == 200
    assert not seen


async def test_a_preflight_passes_without_a_key(proxy: Gateway) -> None:
    log = Log(b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\n\r\n")
    asked = ["origin: https://app.example", "access-control-request-method: POST"]
    async with proxy.upstream(log):
        answer = await proxy.say(get("/a", "", *asked, method="OPTIONS"))
        refused = await proxy.say(get("/a/../b", "", *asked, method="OPTIONS"))
        with_body = await proxy.say(get("/a", "", *asked, "content-length: 3", method="OPTIONS") + b"abc")
    assert (status(answer), header(answer, "access-control-allow-origin")) == (204, "*")
    assert (status(refused), status(with_body)) == (400, 401)
    assert len(log.heads) == 1


async def test_a_stranger_reaches_only_what_the_policy_names(tmp_path: Path) -> None:
    """A preflight goes with the operator's credential, as every request does."""
    routes = [{"match": "POST /named", "meter": "requests"}]
    asked = ["origin: https://app.example", "access-control-request-method: POST"]
    with gateway(tmp_path, {**POLICY, "routes": routes}) as proxy:
        log = Log(b"HTTP/1.1 204 No Content\r\n\r\n")
        async with proxy.upstream(log):
            named, other = [
                await proxy.say(get(path, "", *asked, method="OPTIONS")) for path in ("/named", "/other")
            ]
    assert (status(named), status(other), len(log.heads)) == (204, 403, 1)


async def test_connections_of_clients_and_of_the_upstream_are_kept(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    async with proxy.upstream(Log()) as served, proxy.dial() as client:
        for _ in range(5):
            await client.say(get("/a", key).replace(b"connection: close\r\n", b""))
            await client.head()
            assert await client.reader.readexactly(2) == b"ok"
        assert len(served.lines) == 1


async def test_pipelined_requests_are_answered_in_order(proxy: Gateway) -> None:
    key = await proxy.customer_once()

    async def script(line: Line) -> None:
        while head := await line.head():
            path = head.split()[1]
            await asyncio.sleep(0.02 if path == b"/first" else 0)
            await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(path) + path)

    kept = [get(path, key).replace(b"connection: close\r\n", b"") for path in ("/first", "/second")]
    async with proxy.upstream(script):
        answer = await proxy.say(b"".join([*kept, get("/third", key)]))
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.index(b"/first") < answer.index(b"/second") < answer.index(b"/third")


# -- a body that is kept back --------------------------------------------------------------------------------


async def test_a_body_is_asked_for_when_the_upstream_asks(proxy: Gateway) -> None:
    key = await proxy.customer_once()

    async def script(line: Line) -> None:
        assert header(await line.head(), "expect") == "100-continue"
        await line.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await line.reader.readexactly(5) == b"hello"
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(post("/a", key, "content-length: 5", "expect: 100-continue"))
        assert status(await client.head()) == 100
        await client.say(b"hello")
        assert body(await client.closed()) == b"ok"


async def test_a_body_that_is_not_wanted_is_never_asked_for(proxy: Gateway) -> None:
    """And what would have been a body is not taken for a request."""
    key = await proxy.customer_once()
    log = Log(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")

    async def script(line: Line) -> None:
        log.heads.append(await line.head())
        await line.say(log.answer)
        assert await line.closed() == b""

    async with proxy.upstream(script), proxy.dial() as client:
        kept = post("/a", key, "content-length: 5", "expect: 100-continue").replace(
            b"connection: close\r\n", b""
        )
        await client.say(kept)
        answer = await client.closed()
    assert (status(answer), body(answer), header(answer, "connection")) == (401, b"no", "close")
    assert len(log.heads) == 1


async def test_an_upstream_that_knows_no_hundred_gets_the_body_after_a_moment(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    log = Log()
    async with proxy.upstream(log), proxy.dial() as client:
        await client.say(post("/a", key, "content-length: 5", "expect: 100-continue"))
        assert status(await client.head()) == 100
        await client.say(b"hello")
        assert status(await client.closed()) == 200
    assert log.bodies == [b"hello"]


async def test_an_answer_that_comes_before_the_body_ends_is_heard(proxy: Gateway) -> None:
    key = await proxy.customer_once()

    async def script(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await line.closed()

    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(post("/a", key, "content-length: 1000000") + b"the beginning")
        answer = await client.closed()
    assert (status(answer), body(answer), header(answer, "connection")) == (413, b"big", "close")


# -- too much ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framed", ["length", "chunks"])
async def test_a_body_beyond_its_bound_is_refused_and_costs_nothing(proxy: Gateway, framed: str) -> None:
    """By its length before anything is sent, else as soon as it is too much."""
    account = f"bulky-{framed}"
    key = await proxy.customer(account)
    log = Log()
    async with proxy.upstream(log):
        if framed == "length":
            answer = await proxy.say(post("/short/a", key, "content-length: 11") + b"x" * 11)
            assert log.heads == []
        else:
            async with proxy.dial() as client:
                await client.say(post("/short/a", key, "transfer-encoding: chunked") + b"5\r\nhello\r\n")
                await until(lambda: len(log.heads) == 1)
                await client.say(b"6\r\nworld!\r\n")
                answer = await client.closed()
    assert (status(answer), header(answer, "content-type")) == (413, "application/problem+json")
    assert b"at most 10 bytes" in answer
    assert log.bodies == []
    assert await proxy.balance(account) == "1.00"


async def test_a_body_of_just_the_bound_passes(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    log = Log()
    async with proxy.upstream(log):
        assert status(await proxy.say(post("/short/a", key, "content-length: 10") + b"x" * 10)) == 200
    assert log.bodies == [b"x" * 10]


# -- several upstreams ---------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Gateway]:
    routes = [
        {"match": "* /other/**", "meter": "requests", "upstream": "other"},
        {"match": "* /**", "meter": "requests"},
    ]
    other = {
        "url": "http://localhost:1/v2",
        "headers": {"X-Api-Key": "theirs"},
        "cookies": True,
        "forwarded": False,
    }
    with gateway(tmp_path, {**POLICY, "routes": routes, "upstreams": {"other": other}}) as made:
        other["url"] = f"http://localhost:{made.upstream_port}/v2"
        made.write({**POLICY, "routes": routes, "upstreams": {"other": other}})
        made.reload()
        yield made


async def test_each_route_goes_to_its_upstream_with_its_credential(two: Gateway) -> None:
    """Also after the policy was read anew."""
    key = await two.customer_once()
    log = Log(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\nok")
    async with two.upstream(log):
        first = await two.say(get("/one", key, "cookie: b=2"))
        second = await two.say(get("/other/x", key, "cookie: b=2"))
    assert log.lines == [b"GET /one HTTP/1.1", b"GET /v2/other/x HTTP/1.1"]
    one, other = log.heads
    assert (header(one, "authorization"), header(one, "x-api-key")) == ("Bearer ours", None)
    assert (header(one, "cookie"), header(first, "set-cookie")) == (None, None)
    assert (header(other, "authorization"), header(other, "x-api-key")) == (None, "theirs")
    assert (header(other, "cookie"), header(second, "set-cookie")) == ("b=2", "a=1")
    assert header(other, "host") == f"localhost:{two.upstream_port}"
    assert header(one, "x-forwarded-for") == "127.0.0.1"
    assert header(other, "x-forwarded-for") is None


# -- older and odder clients ---------------------------------------------------------------------------------


async def test_a_client_of_http_1_0_gets_no_chunks(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    async with proxy.upstream(Log(answer)):
        found = await proxy.say(get("/a", key).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert header(found, "transfer-encoding") is None
    assert body(found) == b"hello"


async def test_trailers_pass_to_clients_that_want_them(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    log = Log(
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Sum: 9\r\nMetergate-Cost: 0\r\n\r\n"
    )
    async with proxy.upstream(log):
        wanted = await proxy.say(get("/a", key, "te: trailers"))
        unwanted = await proxy.say(get("/a", key))
    assert body(wanted) == b"2\r\nok\r\n0\r\nx-sum: 9\r\n\r\n"
    assert body(unwanted) == b"2\r\nok\r\n0\r\n\r\n"


async def test_an_offer_of_http_2_is_not_taken_up(proxy: Gateway) -> None:
    """The request is an ordinary one, and so is what comes behind it."""
    key = await proxy.customer_once()
    log = Log()
    asked = ["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQ"]
    first = get("/first", key, *asked).replace(b"connection: close\r\n", b"")
    async with proxy.upstream(log):
        answer = await proxy.say(first + get("/second", key))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert log.lines == [b"GET /first HTTP/1.1", b"GET /second HTTP/1.1"]
    assert b"h2c" not in log.heads[0]
    assert b"http2" not in log.heads[0]
