"""An answer says nothing in the name of metergate, and leads nowhere behind it."""

import pytest

from metergate.upstream import origin
from metergate.upstream.response_head import AnswerReader


def reader(url: str = "https://api.example.com/base", *, cookies: bool = False) -> AnswerReader:
    return AnswerReader(origin.parse(url), cookies=cookies)


def test_ordinary_headers_pass_in_order_and_repeated() -> None:
    headers = [(b"x-a", b"1"), (b"date", b"today"), (b"x-a", b"2"), (b"content-encoding", b"zstd")]
    assert reader().read(headers) == headers


@pytest.mark.parametrize("name", [b"metergate-cost", b"metergate_cost", b"alt-svc", b"set-cookie"])
def test_what_an_upstream_may_not_say_goes(name: bytes) -> None:
    assert reader().read([(name, b"evil"), (b"x-a", b"1")]) == [(b"x-a", b"1")]


def test_cookies_pass_where_the_policy_says_so() -> None:
    pair = (b"set-cookie", b"a=1")
    assert reader(cookies=True).read([pair]) == [pair]


@pytest.mark.parametrize(
    ("place", "ours"),
    [
        (b"https://api.example.com/base/x?y#z", b"/x?y#z"),
        (b"https://API.example.com/base/x", b"/x"),
        (b"/base/x", b"/x"),
        (b"https://api.example.com/other/x", b"https://api.example.com/other/x"),
        (b"https://api.example.com.evil.example/base/x", b"https://api.example.com.evil.example/base/x"),
        (b"https://api.example.com:8443/base/x", b"https://api.example.com:8443/base/x"),
        (b"https://elsewhere.example/base/x", b"https://elsewhere.example/base/x"),
        (b"http://api.example.com/base/x", b"http://api.example.com/base/x"),
        (b"https://api.example.com/base//evil.example/x", b"https://api.example.com/base//evil.example/x"),
        (b"/base//evil.example", b"/base//evil.example"),
        (b"/base/\\evil.example", b"/base/\\evil.example"),
        (b"/base/", b"/"),
        (b"/basement", b"/basement"),
        (b"x", b"x"),
    ],
)
def test_a_redirect_within_the_upstream_stays_within_ours(place: bytes, ours: bytes) -> None:
    """And one that leads elsewhere is the client's to follow."""
    assert reader().read([(b"location", place)]) == [(b"location", ours)]


def test_without_a_prefix_the_path_is_the_same() -> None:
    found = reader("http://127.0.0.1:9").read([(b"location", b"http://127.0.0.1:9/x"), (b"location", b"/y")])
    assert found == [(b"location", b"/x"), (b"location", b"/y")]
