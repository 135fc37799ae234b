"""What a policy says of the proxy: where it forwards to, and what it takes."""

import pytest

from metergate.core import policy as core
from tests.config.helpers import policy, problems

SECOND = 10**6

WHERE = "write scheme, host and path alone, such as https://api.example.com; credentials go into headers"
LINE = "write the value of a header on one line and in Latin letters"


def test_every_choice_of_an_upstream_reaches_the_core() -> None:
    found = policy(
        """
upstream: {url: "http://a"}
upstreams:
  b:
    url: https://b.example/base
    headers: {Authorization: " Bearer x ", X-Team: us}
    timeout: 5s
    first_byte: 6s
    connect: 7s
    total: 8s
    connections: 9
    waiting: 0
    cookies: true
    forwarded: false
    ca: ca.pem
"""
    ).upstreams
    assert found == {
        "": core.Upstream("http://a"),
        "b": core.Upstream(
            url="https://b.example/base",
            headers=(("Authorization", "Bearer x"), ("X-Team", "us")),
            ca="ca.pem",
            cookies=True,
            forwarded=False,
            connect_us=7 * SECOND,
            first_byte_us=6 * SECOND,
            silence_us=5 * SECOND,
            total_us=8 * SECOND,
            connections=9,
            waiting=0,
        ),
    }


def test_without_a_first_byte_of_its_own_an_answer_may_begin_as_late_as_it_may_be_silent() -> None:
    found = policy('upstream: {url: "http://a", timeout: 5s}').upstreams[""]
    assert (found.first_byte_us, found.silence_us) == (5 * SECOND, 5 * SECOND)


def test_what_is_left_out_is_what_the_core_takes_for_granted() -> None:
    assert policy("").serve == core.Serve()
    assert policy('upstream: {url: "http://a"}').upstreams[""] == core.Upstream("http://a")


def test_every_bound_reaches_the_core() -> None:
    found = policy(
        """
serve:
  trusted_proxies: [10.0.0.0/8, "fc00::/7", 192.0.2.1]
  hosts: [API.example.com, "b:8080"]
  url_bytes: 1
  header_bytes: 2
  header_count: 3
  body_bytes: 4
  head_within: 5s
  body_silence: 6s
  read_silence: 7s
  keep_alive: 8s
  connections: 9
  connections_per_address: 10
  grace: 11s
"""
    ).serve
    assert found == core.Serve(
        ("10.0.0.0/8", "fc00::/7", "192.0.2.1/32"), frozenset({"api.example.com", "b:8080"}), 1, 2, 3, 4,
        5 * SECOND, 6 * SECOND, 7 * SECOND, 8 * SECOND, 9, 10, 11 * SECOND,
    )  # fmt: skip


def test_a_route_of_the_proxy() -> None:
    (route,) = policy(
        """
upstreams: {b: {url: "http://b"}}
routes: [{match: "* /a", free: true, upstream: b, websocket: true, body_bytes: 5, drain: 3s}]
"""
    ).routes
    assert (route.upstream, route.websocket, route.body_bytes, route.drain_us) == ("b", True, 5, 3 * SECOND)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('upstream: {url: "http://u:p@a"}', f"upstream.url: {WHERE}"),
        ('upstream: {url: "http://a/?x"}', f"upstream.url: {WHERE}"),
        ('upstream: {url: "http://a/b/../c"}', f"upstream.url: {WHERE}"),
        ('upstream: {url: "http://a", headers: {X-A: "a\\r\\nX-B: b"}}', f"upstream.headers.X-A: {LINE}"),
        ('upstream: {url: "http://a", headers: {X-A: "€"}}', f"upstream.headers.X-A: {LINE}"),
        (
            'upstream: {url: "http://a", connections: 0}',
            "upstream.connections: write a whole number of at least 1",
        ),
        (
            "serve: {trusted_proxies: [10.0.0.1/8]}",
            "serve.trusted_proxies[0]: write an address or a network such as 10.0.0.0/8",
        ),
        (
            "serve: {trusted_proxies: [proxy]}",
            "serve.trusted_proxies[0]: write an address or a network such as 10.0.0.0/8",
        ),
        (
            'serve: {hosts: ["https://a"]}',
            "serve.hosts[0]: write a host such as api.example.com, with its port where clients type one",
        ),
        (
            'upstreams: {images: {url: "http://a"}}\nroutes: [{match: "* /a", free: true, upstream: image}]',
            'routes[0].upstream: no upstream is called "image"; did you mean "images"?',
        ),
        (
            'routes: [{match: "* /a", free: true, upstream: image}]',
            'routes[0].upstream: no upstream is called "image"',
        ),
    ],
)
def test_mistakes_are_told(text: str, problem: str) -> None:
    [told] = problems(text)
    assert told.endswith(problem)


def test_where_an_upstream_is_and_its_credential_are_no_part_of_the_version() -> None:
    """When they come from the environment: they change between machines, and no price does."""
    text = 'upstreams: {b: {url: "http://${HOST}", headers: {A: "${KEY}"}}}\nserve: {hosts: ["${HOST}"]}'
    first = policy(text, {"HOST": "a", "KEY": "1"})
    second = policy(text, {"HOST": "b", "KEY": "2"})
    assert first.upstreams != second.upstreams
    assert first.version == second.version
    assert "http" not in repr(first.upstreams)
