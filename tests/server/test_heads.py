"""What the server makes of heads: what can be read in one way is answered, everything else is refused."""

import json

from metergate.asgi.types import Receive, Scope, Send
from tests.server.house import GET, HOST, LAST, Served, body, echo, headers, saying, served, statuses

BOUNDS = {"url_bytes": 200, "header_bytes": 1000, "header_count": 10, "hosts": frozenset({"public.example"})}
HEADERS = b"".join(b"X-%d: 1\r\n" % number for number in range(9))


async def refused(server: Served, request: bytes) -> tuple[int, str]:
    """The one refusal of a request, and of everything behind it; it tells what to do and closes."""
    answer = await server.say(request + LAST)
    assert len(statuses(answer)) == 1, (request, answer)
    assert headers(answer)["connection"] == "close"
    told = json.loads(body(answer))
    assert headers(answer)["metergate-request-id"] == told["request_id"]
    return statuses(answer)[0], told["reason"]


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST /a HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


AMBIGUOUS = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "no name of a host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "another host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "the form for proxies": b"GET http://public.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path without a slash": b"GET paid HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method of small letters": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "a tunnel": b"CONNECT public.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "length and chunks": post(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc"),
    "the same length twice": post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "a list of lengths": post(b"Content-Length: 3, 3", body=b"abc"),
    "a length with a sign": post(b"Content-Length: +3", body=b"abc"),
    "a length in hexadecimal": post(b"Content-Length: 0x3", body=b"abc"),
    "a length beyond counting": post(b"Content-Length: 99999999999999999999999", body=b"abc"),
    "an encoding before chunked": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked twice in a line": post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "something like chunked": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "an identity": post(b"Transfer-Encoding: identity", body=b""),
    "chunks for HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\r\n folded\r\n\r\n",
    "a line that ends with LF": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\nX-B: 2\r\n\r\n",
    "a line that ends with CR": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\rX-B: 2\r\n\r\n",
    "a zero in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: 1\x00\r\n\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length : 0\r\n\r\n",
    "a line without a colon": b"GET / HTTP/1.1\r\n" + HOST + b"nothing\r\n\r\n",
    "a name that is empty": b"GET / HTTP/1.1\r\n" + HOST + b": 1\r\n\r\n",
    "a body with another protocol": post(
        b"Connection: upgrade", b"Upgrade: a", b"Content-Length: 1", body=b"x"
    ),
    "a chunk without a size": post(b"Transfer-Encoding: chunked", body=b"\r\nabc\r\n0\r\n\r\n"),
    "a chunk with a sign": post(b"Transfer-Encoding: chunked", body=b"+3\r\nabc\r\n0\r\n\r\n"),
    "a chunk in 0x": post(b"Transfer-Encoding: chunked", body=b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a chunk beyond counting": post(b"Transfer-Encoding: chunked", body=b"1" * 17 + b"\r\nabc"),
    "a chunk longer than it says": post(b"Transfer-Encoding: chunked", body=b"3\r\nabcd\r\n0\r\n\r\n"),
    "a trailer that would frame": post(
        b"Transfer-Encoding: chunked", body=b"2\r\nab\r\n0\r\nContent-Length: 9\r\n\r\n"
    ),
    "chunks that end with LF": post(b"Transfer-Encoding: chunked", body=b"3\nabc\n0\n\n"),
}


async def test_what_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read() -> None:
    async with served(echo, **BOUNDS) as server:
        for what, request in AMBIGUOUS.items():
            assert await refused(server, request) == (400, "bad_request"), what


async def test_heads_have_bounds() -> None:
    line = b"GET /%b HTTP/1.1\r\n" + HOST
    long = {
        "a path": (line % (b"a" * 200) + b"\r\n", (414, "url_too_long")),
        "a query": (line % (b"?" + b"a" * 300) + b"\r\n", (414, "url_too_long")),
        "many lines": (line % b"" + HEADERS + b"X-9: 1\r\n\r\n", (431, "headers_too_large")),
        "a long line": (line % b"" + b"X: " + b"a" * 1000 + b"\r\n\r\n", (431, "headers_too_large")),
        "a long name": (line % b"" + b"X" * 1000 + b": a\r\n\r\n", (431, "headers_too_large")),
        "trailers": (
            post(b"Transfer-Encoding: chunked", body=b"0\r\nX: " + b"a" * 1000 + b"\r\n\r\n"),
            (431, "headers_too_large"),
        ),
    }
    async with served(echo, **BOUNDS) as server:
        assert statuses(await server.say(line % (b"a" * 199) + HEADERS + b"\r\n" + LAST)) == [200, 200]
        for what, (request, expected) in long.items():
            assert await refused(server, request) == expected, what


async def test_a_head_that_never_ends_is_not_kept() -> None:
    async with served(echo, **BOUNDS) as server:
        for endless in (b"\r\n", b"GET /", b"GET /" + b"a" * 400_000, b"X" * 1000, b"X: 1\r\n"):
            start = b"GET / HTTP/1.1\r\n" + HOST if endless[:1] == b"X" else b""
            answer = await server.say(start + endless * (500_000 // len(endless)))
            assert statuses(answer)[0] in (400, 414, 431), endless[:10]
            assert len(statuses(answer)) == 1


async def test_what_is_only_unusual_is_answered() -> None:
    unusual = {
        "a name in capitals": b"GET / HTTP/1.1\r\nHOST: PUBLIC.example\r\n\r\n",
        "no blank after the colon": b"GET / HTTP/1.1\r\nHost:public.example\r\n\r\n",
        "blanks before a value": b"GET / HTTP/1.1\r\nHost: \t public.example\r\n\r\n",
        "empty lines before a request": b"\r\n\r\n" + GET,
        "an extension of a chunk": post(b"Transfer-Encoding: chunked", body=b"2;a=b\r\nab\r\n0\r\n\r\n"),
        "a trailer": post(b"Transfer-Encoding: chunked", body=b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"),
        "zeros before a size": post(b"Transfer-Encoding: chunked", body=b"0002\r\nab\r\n0000\r\n\r\n"),
        "an offer of HTTP/2": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    }
    async with served(echo, **BOUNDS) as server:
        for what, request in unusual.items():
            assert statuses(await server.say(request + LAST)) == [200, 200], what


async def test_an_escaped_path_is_given_as_it_was_and_as_it_reads() -> None:
    found: dict[str, object] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found.update({name: scope[name] for name in ("raw_path", "path", "query_string", "http_version")})
            await saying()(scope, receive, send)

    async with served(app) as server:
        await server.say(b"GET /a%20b?c=%20 HTTP/1.0\r\n\r\n")
    assert found == {
        "raw_path": b"/a%20b", "path": "/a b", "query_string": b"c=%20", "http_version": "1.0"
    }  # fmt: skip
