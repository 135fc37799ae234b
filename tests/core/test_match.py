"""Paths are read in one way or refused, and the first rule that matches is the one."""

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core import match as matching
from metergate.core.match import METHODS, PATH_MAX, canonical, problem, split
from metergate.core.policy import Route


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/v1/chat", "/v1/chat"),
        (b"/v1/chat/", "/v1/chat/"),
        (b"/a.b/..c/d..", "/a.b/..c/d.."),
        (b"/...", "/..."),
        (b"/a~b_c-d!e$f&g'h(i)j*k+l,m=n:o@p", "/a~b_c-d!e$f&g'h(i)j*k+l,m=n:o@p"),
        (b"/%61bc", "/abc"),
        (b"/a%20b", "/a b"),
        (b"/gr%C3%B6%c3%9fe", "/größe"),
        (b"/100%25", "/100%"),
        (b"/100%25g1", "/100%g1"),
        (b"/" + b"x" * (PATH_MAX - 1), "/" + "x" * (PATH_MAX - 1)),
    ],
)
def test_a_plain_path_is_taken(raw: bytes, path: str) -> None:
    assert canonical(raw) == (path, "")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"paid",
        b"*",
        b"http://other/paid",
        b"//paid",
        b"/free//paid",
        b"/free/../paid",
        b"/free/..",
        b"/./paid",
        b"/.",
        b"/free/%2e%2E/paid",
        b"/%2e/paid",
        b"/.%2e",
        b"/free%2Fpaid",
        b"/free%2fpaid",
        b"/free%5Cpaid",
        b"/free\\paid",
        b"/free;x=1/paid",
        b"/free%3bx",
        b"/paid#free",
        b"/paid%23free",
        b"/paid?free",
        b"/paid%3Ffree",
        b"/%252e%252e/paid",
        b"/%2525",
        b"/%25%32%65%25%32%65/paid",
        b"/%252%65",
        b"/free%00",
        b"/free%0d%0a",
        b"/free%1F",
        b"/free%7f",
        b"/free\x00",
        b"/free paid",
        b"/free\tpaid",
        b"/free\npaid",
        b"/gr\xc3\xb6\xc3\x9fe",
        b"/%C3",
        b"/%ff",
        b"/%C0%AF",
        b"/%",
        b"/%4",
        b"/%zz",
        b'/"quoted"',
        b"/<script>",
        b"/{id}",
        b"/a|b",
        b"/" + b"x" * PATH_MAX,
    ],
)
def test_a_path_that_two_readers_may_understand_differently_is_refused(raw: bytes) -> None:
    path, why = canonical(raw)
    assert path == ""
    assert why.endswith(".")


@given(st.binary(max_size=30).map(lambda tail: b"/" + tail))
def test_what_is_taken_is_the_path_that_every_reader_decodes(raw: bytes) -> None:
    path, why = canonical(raw)
    if not why:
        assert path.encode() == unquote_to_bytes(raw)
        assert not {".", ".."} & set(path.split("/"))
        assert "//" not in path
        assert path.isprintable() or any(ord(letter) > 127 for letter in path)


@given(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=10))
def test_any_word_may_be_a_segment(word: str) -> None:
    assert canonical(f"/{quote(word)}".encode()) == (f"/{word}", "")


def rule(index: int, match: str) -> Route:
    return Route(index, match, *split(match))


@pytest.mark.parametrize(
    ("match", "method", "path", "found"),
    [
        ("GET /a", "GET", "/a", True),
        ("GET /a", "HEAD", "/a", True),
        ("GET /a", "POST", "/a", False),
        ("POST /a", "HEAD", "/a", False),
        ("* /a", "DELETE", "/a", True),
        ("GET /a", "GET", "/a/", False),
        ("GET /a/", "GET", "/a", False),
        ("GET /a/", "GET", "/a/", True),
        ("GET /a", "GET", "/A", False),
        ("GET /a", "GET", "/ab", False),
        ("GET /", "GET", "/", True),
        ("GET /", "GET", "/a", False),
        ("GET /{id}", "GET", "/7", True),
        ("GET /{id}", "GET", "/7/x", False),
        ("GET /{id}", "GET", "/", False),
        ("GET /*/x", "GET", "/7/x", True),
        ("GET /*/x", "GET", "/7/8/x", False),
        ("POST /models/*:count", "POST", "/models/a:count", True),
        ("POST /models/{m}:count", "POST", "/models/a-1.5:count", True),
        ("POST /models/{m}:count", "POST", "/models/a:other", False),
        ("POST /models/{m}:count", "POST", "/models/a:other:count", False),
        ("POST /models/{m}:count", "POST", "/models/:count", False),
        ("POST /models/{m}:count", "POST", "/models/a", False),
        ("POST /models/{m}:count", "POST", "/models/a/b:count", False),
        ("GET /a/**", "GET", "/a", True),
        ("GET /a/**", "GET", "/a/", True),
        ("GET /a/**", "GET", "/a/b/c", True),
        ("GET /a/**", "GET", "/ab", False),
        ("* /**", "PUT", "/", True),
        ("* /**", "PUT", "/any/thing/at all\n", True),
        ("GET /a.b", "GET", "/axb", False),
        ("GET /a+(b)", "GET", "/a+(b)", True),
        ("GET /größe", "GET", "/größe", True),
    ],
)
def test_a_rule_matches_whole_paths(match: str, method: str, path: str, found: bool) -> None:
    assert problem(match) is None
    assert (matching.compile([rule(0, match)])(method, path) is not None) is found


def test_the_first_rule_that_matches_is_the_one() -> None:
    matches = ("GET /v1/models", "* /v1/**", "GET /**")
    find = matching.compile([rule(index, match) for index, match in enumerate(matches)])
    asked = [("GET", "/v1/models"), ("POST", "/v1/models"), ("GET", "/v1/x"), ("GET", "/"), ("POST", "/")]
    found = [find(method, path) for method, path in asked]
    assert [route.index if route else None for route in found] == [0, 1, 1, 2, None]


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("", "write the match as METHOD /path"),
        ("/v1/chat", "write the match as METHOD /path"),
        ("GET v1", "write the match as METHOD /path"),
        ("GET  /v1", "write the match as METHOD /path"),
        ("get /v1", "write the match as METHOD /path"),
        ("GET /v1 ", "write the match as METHOD /path"),
        ("FETCH /v1", "FETCH is not a method a route can name"),
        ("TRACE /v1", "TRACE is not a method a route can name"),
        ("CONNECT /v1", "CONNECT is not a method a route can name"),
        ("GET /**/v1", "must come last"),
        ("GET /a//b", "no empty or dot segments"),
        ("GET //", "no empty or dot segments"),
        ("GET /a/../b", "no empty or dot segments"),
        ("GET /a/.", "no empty or dot segments"),
        ("GET /a{id}", "a placeholder is a whole segment"),
        ("GET /{id", "a placeholder is a whole segment"),
        ("GET /{}", "a placeholder is a whole segment"),
        ("GET /{a-b}", "a placeholder is a whole segment"),
        ("GET /v*", "stands for a whole segment"),
        ("GET /***", "stands for a whole segment"),
        ("GET /*:", "stands for a whole segment"),
        ("GET /a*:b", "stands for a whole segment"),
        ("GET /{a}:b:c", "a placeholder is a whole segment"),
    ],
)
def test_a_match_that_cannot_be_understood_says_why(match: str, why: str) -> None:
    found = problem(match)
    assert found is not None and why in found


def test_methods_that_no_rule_may_meet_are_not_in_the_list() -> None:
    assert not METHODS & {"TRACE", "CONNECT", "get", ""}
