"""What policy saw is byte for byte what the upstream got; what could be read in two ways gets nowhere."""

import pytest

from tests.proxy.house import Gateway, Log, body, get, header, status


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a/b-c_d~e.f",
        "/a/",
        "/a?b=1&b=2&c",
        "/a?next=//evil.example/../x%2F%00",
        "/a%20b/%E2%82%AC",
        "/a%7eb",
        "/a:b@c!$&'()*+,=d",
        '/a?x=[]{}|^`\\"<>',
        "/%61dmin",
    ],
)
async def test_the_target_arrives_as_it_was_sent(proxy: Gateway, target: str) -> None:
    key = await proxy.customer_once()
    log = Log()
    async with proxy.upstream(log):
        answer = await proxy.say(get(target, key))
    assert (status(answer), body(answer)) == (200, b"ok")
    assert log.lines == [f"GET {target} HTTP/1.1".encode()]


@pytest.mark.parametrize(
    "target",
    [
        "//a", "/a//b", "/a/../b", "/a/./b", "/..", "/.", "/a/%2e%2e/b", "/a/%2E./b", "/a%2Fb", "/a%2fb",
        "/a%5Cb", "/a\\b", "/a%00b", "/a%0d%0aX:1", "/a%252e", "/a%25%32%65", "/a;b", "/a%3Bb",
        "/a%", "/a%zz", "/a%2", "/public/..%2f", "/%C0%AE%C0%AE/a", "/a%FF", "*",
        "http://evil.example/a", "http://public.example/a", "evil.example:80", "a", "?a", "#a", "/a#b",
        "/a?b#c",
    ],
)  # fmt: skip
@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without"])
async def test_an_ambiguous_target_gets_nowhere(proxy: Gateway, target: str, keyed: bool) -> None:
    key = await proxy.customer_once() if keyed else ""
    log = Log()
    async with proxy.upstream(log):
        answer = await proxy.say(get(target, key))
    assert status(answer) == 400
    assert log.heads == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "PROPFIND", "FOO", "GET\t", "PRI"])
async def test_an_odd_method_gets_nowhere(proxy: Gateway, method: str) -> None:
    key = await proxy.customer_once()
    log = Log()
    async with proxy.upstream(log):
        answer = await proxy.say(get("/a", key, method=method))
    assert status(answer) == 400
    assert log.heads == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
async def test_ordinary_methods_pass(proxy: Gateway, method: str) -> None:
    key = await proxy.customer_once()
    log = Log()
    async with proxy.upstream(log):
        assert status(await proxy.say(get("/a", key, "content-length: 0", method=method))) == 200
    assert log.lines == [f"{method} /a HTTP/1.1".encode()]
    assert header(log.heads[0], "content-length") == "0"


async def test_the_whole_head_is_as_written(proxy: Gateway) -> None:
    """Nothing of the client's credential, and ours after everything."""
    key = await proxy.customer_once()
    log = Log()
    more = ["X-Custom: a b", "Cookie: a=1", "Via: 1.1 x", "X-Api-Key: " + key, "X-Custom: \xff"]
    forged = ["X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "Metergate-Account: other"]
    async with proxy.upstream(log):
        answer = await proxy.say(get("/a", key, *more, *forged))
    assert status(answer) == 200
    request_id = header(answer, "metergate-request-id")
    assert log.heads == [
        (
            f"GET /a HTTP/1.1\r\nhost: 127.0.0.1:{proxy.upstream_port}\r\n"
            "x-custom: a b\r\nvia: 1.1 x\r\nx-custom: \xff\r\n"
            "x-forwarded-proto: http\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-host: public.example\r\n"
            f"metergate-request-id: {request_id}\r\nauthorization: Bearer ours\r\n\r\n"
        ).encode("latin-1")
    ]


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key", "x-goog-api-key"])
async def test_a_key_never_reaches_the_upstream(proxy: Gateway, name: str) -> None:
    key = await proxy.customer_once()
    log = Log()
    shown = f"{name}: Bearer {key}" if name == "authorization" else f"{name}: {key}"
    async with proxy.upstream(log):
        assert status(await proxy.say(get("/a", "", shown))) == 200
    assert key.encode() not in log.heads[0]
    assert header(log.heads[0], "authorization") == "Bearer ours"


@pytest.mark.parametrize(
    "headers",
    [
        ["x_forwarded_for: 6.6.6.6"],
        ["content_length: 5"],
        ["host: second.example"],
    ],
)
async def test_ambiguous_headers_get_nowhere(proxy: Gateway, headers: list[str]) -> None:
    key = await proxy.customer_once()
    before = await proxy.balance("regular")
    log = Log()
    async with proxy.upstream(log):
        assert status(await proxy.say(get("/a", key, *headers))) == 400
    assert log.heads == []
    assert await proxy.balance("regular") == before


@pytest.mark.parametrize(
    "request_head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding : chunked",
        "X-A: a\r\n b",
        "X-A: a\0b",
        ": a",
        "X-A",
    ],
)
async def test_framing_that_two_could_read_differently_gets_nowhere(
    proxy: Gateway, request_head: str
) -> None:
    """And the connection ends, so that nothing hides behind it."""
    key = await proxy.customer_once()
    log = Log()
    hidden = b"0\r\n\r\n" + get("/free/hidden", key)
    head = f"POST /a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{request_head}\r\n\r\n".encode()
    async with proxy.upstream(log):
        answer = await proxy.say(head + hidden)
    assert status(answer) in (400, 501)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert log.heads == []


@pytest.mark.parametrize("ending", ["\n", "\r"])
async def test_bare_line_ends_get_nowhere(proxy: Gateway, ending: str) -> None:
    key = await proxy.customer_once()
    log = Log()
    async with proxy.upstream(log):
        assert status(await proxy.say(get("/a", key).replace(b"\r\n", ending.encode()) + b"\r\n\r\n")) == 400
    assert log.heads == []
