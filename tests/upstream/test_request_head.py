"""What becomes of a request's head: the target byte for byte, of the headers only what is the upstream's."""

from typing import Any

import pytest

from metergate.core.addresses import Proxies
from metergate.core.policy import Upstream
from metergate.errors import ConfigurationError
from metergate.upstream import BadRequestError, Client, HeadWriter
from metergate.upstream import origin as origins

URL = "http://api.example.com"
KEYS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
CLIENT: Client = ("203.0.113.7", "https")
PROXY: Client = ("10.0.0.9", "http")
TOLD = b"x-forwarded-proto: https\r\nx-forwarded-for: 203.0.113.7\r\n"

Pairs = list[tuple[bytes, bytes]]


def writer(url: str = URL, *, trusted: str = "", **options: Any) -> HeadWriter:
    return HeadWriter(origins.parse(url), Upstream(url, **options), KEYS, Proxies(trusted.split()))


def head(headers: Pairs, client: Client = CLIENT, target: bytes = b"/a", **options: Any) -> bytes:
    return writer(**options).write("GET", target, headers, client).data


def passed(headers: Pairs, client: Client = CLIENT, **options: Any) -> bytes:
    """What follows the host."""
    return head(headers, client, **options).partition(b"host: api.example.com\r\n")[2]


@pytest.mark.parametrize(
    "target", [b"/", b"/a?b=c&b=%2F%2f", b"/%E2%82%AC/x;?", b"/a?//..//\\^`{|}\"'<>", b"/a?"]
)
def test_the_target_is_the_clients_byte_for_byte(target: bytes) -> None:
    assert head([], target=target).startswith(b"GET " + target + b" HTTP/1.1\r\nhost: api.example.com\r\n")


@pytest.mark.parametrize(
    "target", [b"/a#b", b"/a?b#c", b"/a b", b"/a?\xff", b"/a?\x00", b"/a?b\r\nx: y", b"a", b"", b"/a\n"]
)
def test_a_target_that_cannot_be_sent_is_refused(target: bytes) -> None:
    with pytest.raises(BadRequestError):
        head([], target=target)


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://api.example.com", b"GET /a ", b"api.example.com"),
        ("http://api.example.com:80/", b"GET /a ", b"api.example.com"),
        ("https://api.example.com", b"GET /a ", b"api.example.com"),
        ("https://api.example.com:8443", b"GET /a ", b"api.example.com:8443"),
        ("http://127.0.0.1:9", b"GET /a ", b"127.0.0.1:9"),
        ("http://[::1]:9", b"GET /a ", b"[::1]:9"),
        ("http://bücher.example/base/", b"GET /base/a ", b"xn--bcher-kva.example"),
    ],
)
def test_host_and_prefix_come_from_the_policy_alone(url: str, line: bytes, host: bytes) -> None:
    found = head([(b"host", b"evil.example")], url=url)
    assert found.startswith(line + b"HTTP/1.1\r\nhost: " + host + b"\r\n")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a",
        "http://",
        "http://u:p@a",
        "http://a?b",
        "http://a#b",
        "http://a/../b",
        "http://a//b",
        "//a",
        "a",
    ],
)
def test_an_address_that_could_mean_something_else_is_a_mistake(url: str) -> None:
    with pytest.raises(ConfigurationError):
        origins.parse(url)


def test_ordinary_headers_pass_in_order_and_repeated() -> None:
    sent = [(b"accept", b"*/*"), (b"x-a", b"1"), (b"x-b", b"\xff \t"), (b"x-a", b"2"), (b"te2", b"")]
    assert passed(sent) == b"accept: */*\r\nx-a: 1\r\nx-b: \xff \t\r\nx-a: 2\r\nte2: \r\n" + TOLD


@pytest.mark.parametrize(
    "name",
    [
        # of the connection, or of framing
        "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "trailer", "upgrade", "expect", "http2-settings",
        # credentials
        *KEYS, "cookie",
        # what only a proxy may say, or only metergate
        "forwarded", "x-real-ip", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-uri", "client-ip",
        "true-client-ip", "metergate-request-id", "metergate-anything", "x-metergate-account",
        # what could lead past the rule that was charged
        "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url",
    ],
)  # fmt: skip
def test_what_is_not_the_upstreams_business_goes(name: str) -> None:
    assert passed([(b"accept", b"*/*"), (name.encode(), b"evil")]) == b"accept: */*\r\n" + TOLD


def test_what_connection_names_goes_and_takes_nothing_of_ours_along() -> None:
    """Ours comes after the client's have gone."""
    headers = [
        (b"x-private", b"1"),
        (b"connection", b"keep-alive, X-Private ,metergate-request-id"),
        (b"connection", b"x-other, authorization, x-forwarded-for, host"),
        (b"x-other", b"2"),
        (b"x-public", b"3"),
    ]
    options: dict[str, Any] = {"headers": (("Authorization", "Bearer ours"),)}
    found = writer(**options).write("GET", b"/a", headers, CLIENT, "req_1").data
    ours = b"metergate-request-id: req_1\r\nauthorization: Bearer ours\r\n"
    assert found == b"GET /a HTTP/1.1\r\nhost: api.example.com\r\nx-public: 3\r\n" + TOLD + ours


@pytest.mark.parametrize("name", [b"x_api_key", b"x_forwarded_for", b"content_length", b"a_"])
def test_an_underscore_is_refused(name: bytes) -> None:
    """Some upstreams read it as a hyphen, and so find what was taken away."""
    with pytest.raises(BadRequestError, match="underscore"):
        head([(name, b"1")])


@pytest.mark.parametrize(
    "pair",
    [
        (b"x", b"a\r\nevil: 1"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"\0"),
        (b"x y", b""),
        (b"x:", b""),
        (b"", b""),
    ],
)
def test_a_header_that_would_become_two_is_refused(pair: tuple[bytes, bytes]) -> None:
    """Whatever server let it through."""
    with pytest.raises(BadRequestError):
        head([pair])


def test_the_policys_headers_take_the_place_of_the_clients() -> None:
    sent = [(b"authorization", b"Bearer mg_live_x"), (b"x-team", b"mine"), (b"accept", b"*/*")]
    added = (("Authorization", "Bearer ours"), ("X-Team", "ours"), ("Host", "inner.example"))
    found = writer(headers=added).write("GET", b"/a", sent, CLIENT).data
    assert found == (
        b"GET /a HTTP/1.1\r\nhost: inner.example\r\naccept: */*\r\n"
        + TOLD
        + b"authorization: Bearer ours\r\nx-team: ours\r\n"
    )


def test_cookies_pass_where_the_policy_says_so() -> None:
    assert passed([(b"cookie", b"a=1")], cookies=True) == b"cookie: a=1\r\n" + TOLD


def test_two_hosts_are_refused() -> None:
    with pytest.raises(BadRequestError, match="one Host"):
        head([(b"host", b"a"), (b"host", b"b")])


FORGED = [
    (b"x-forwarded-for", b"6.6.6.6, 198.51.100.4"),
    (b"x-forwarded-for", b"10.0.0.8"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"public.example"),
    (b"host", b"inner.example:8080"),
]


def forwarded(client: Client, headers: Pairs, **options: Any) -> dict[str, str]:
    lines = passed(headers, client, **options).decode("latin-1").split("\r\n")
    return dict(line.split(": ", 1) for line in lines if line)


def test_what_a_client_says_of_itself_is_overwritten() -> None:
    assert forwarded(CLIENT, FORGED) == {
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "inner.example:8080",
    }


def test_a_trusted_proxy_is_believed_as_far_as_trust_goes() -> None:
    """The right-most address that is not trusted is the client; what that one claims is left out."""
    assert forwarded(PROXY, FORGED, trusted="10.0.0.0/8 fc00::/7") == {
        "x-forwarded-for": "198.51.100.4, 10.0.0.8, 10.0.0.9",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "public.example",
    }


@pytest.mark.parametrize("said", [b"", b"unknown", b"6.6.6.6, what", b"10.0.0.1:80", b"\xff"])
def test_nonsense_from_a_trusted_proxy_ends_the_chain(said: bytes) -> None:
    headers = [(b"x-forwarded-for", said), (b"x-forwarded-proto", b"gopher"), (b"x-forwarded-host", b"a b")]
    found = forwarded(PROXY, headers, trusted="10.0.0.0/8")
    assert found == {"x-forwarded-for": "10.0.0.9", "x-forwarded-proto": "http"}


def test_an_upstream_need_not_be_told_who_asks() -> None:
    assert passed(FORGED, forwarded=False) == b""


def test_a_client_without_an_address_has_none_to_tell() -> None:
    assert forwarded(("", "http"), []) == {"x-forwarded-proto": "http"}


def test_names_beyond_counting_are_judged_and_not_remembered() -> None:
    """A client chooses the names of its headers; it does not choose what is kept in memory."""
    one = writer()
    for number in range(5000):
        one.write("GET", b"/", [(b"x-%d" % number, b"1")], CLIENT)
    one.write("GET", b"/", [(b"x" * 10_000, b"1")], CLIENT)
    assert len(one._verdicts) <= 1024
    assert b"x-9999" in one.write("GET", b"/", [(b"x-9999", b"1"), (b"te", b"1")], CLIENT).data


@pytest.mark.parametrize(
    ("headers", "length", "chunked", "expects"),
    [
        ([], None, False, False),
        ([(b"content-length", b"0")], 0, False, False),
        ([(b"content-length", b"0012")], 12, False, False),
        ([(b"transfer-encoding", b"Chunked")], None, True, False),
        ([(b"expect", b"100-Continue"), (b"content-length", b"5")], 5, False, True),
        ([(b"expect", b"the best"), (b"content-length", b"5")], 5, False, False),
    ],
)
def test_how_the_client_frames_its_body_is_read_and_not_passed_on(
    headers: Pairs, length: int | None, chunked: bool, expects: bool
) -> None:
    found = writer().write("POST", b"/a", headers, CLIENT)
    assert (found.length, found.chunked, found.expects) == (length, chunked, expects)
    assert found.data == b"POST /a HTTP/1.1\r\nhost: api.example.com\r\n" + TOLD


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"5")],
        [(b"content-length", b"5"), (b"content-length", b"5")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"identity")],
        [(b"content-length", b"+5")],
        [(b"content-length", b"5, 5")],
        [(b"content-length", b"-5")],
        [(b"content-length", b"")],
        [(b"content-length", b"9" * 19)],
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(headers: Pairs) -> None:
    """Whatever server let it through."""
    with pytest.raises(BadRequestError):
        head(headers)


def test_connection_cannot_name_framing_away() -> None:
    found = writer().write(
        "POST",
        b"/",
        [(b"connection", b"content-length, x-a"), (b"content-length", b"5"), (b"x-a", b"1")],
        CLIENT,
    )
    assert found.length == 5
    assert b"x-a" not in found.data
