"""Headers between raw sockets: what concerns a connection stays there, and what is ours nobody else says."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.ports import free_port
from tests.proxy.house import POLICY, Gateway, Log, body, gateway, get, header, status
from tests.proxy.test_failing import problem
from tests.upstream.house import serving


def names(head: bytes) -> list[str]:
    lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").lower().split("\r\n")[1:]
    return [line.partition(":")[0] for line in lines]


OURS = ["host", "x-forwarded-proto", "x-forwarded-for", "x-forwarded-host", "metergate-request-id"]


async def test_what_connection_names_goes_and_takes_nothing_of_ours_along(proxy: Gateway) -> None:
    """Ours comes after the client's has gone."""
    key = await proxy.customer_once()
    named = f"x-private, {', '.join(OURS)}, authorization, content-length, cookie"
    log = Log()
    async with proxy.upstream(log):
        sent = get("/a", key, f"connection: {named}", "x-private: 1", "content-length: 3", method="POST")
        assert status(await proxy.say(sent + b"abc")) == 200
    assert sorted(names(log.heads[0])) == sorted([*OURS, "authorization", "content-length"])
    assert header(log.heads[0], "authorization") == "Bearer ours"
    assert log.bodies == [b"abc"]


async def test_what_is_not_the_upstreams_business_goes(proxy: Gateway) -> None:
    """Of the connection, of proxies, and what could lead past the rule that was charged."""
    key = await proxy.customer_once()
    gone = [
        "keep-alive: timeout=5", "proxy-authorization: Basic eDp5", "proxy-connection: close", "te: gzip",
        "trailer: x-sum", "upgrade: h2c", "http2-settings: AAMAAABkAAQ", "x-real-ip: 6.6.6.6",
        "x-client-ip: 6.6.6.6", "true-client-ip: 6.6.6.6", "forwarded: for=6.6.6.6",
        "x-forwarded-for: 6.6.6.6", "x-forwarded-prefix: /free", "x-http-method-override: DELETE",
        "x-method-override: DELETE", "x-original-url: /free/a", "x-rewrite-url: /free/a",
        "metergate-account: other", "x-metergate-plan: all",
    ]  # fmt: skip
    log = Log()
    async with proxy.upstream(log):
        assert status(await proxy.say(get("/a", key, *gone, "x-kept: 1"))) == 200
    assert sorted(names(log.heads[0])) == sorted([*OURS, "authorization", "x-kept"])
    assert b"6.6.6.6" not in log.heads[0]


async def test_an_answer_leaves_the_upstreams_own_behind(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    log = Log(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\n"
        b"Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nAlt-Svc: h3\r\nSet-Cookie: a\r\nMetergate-Cost: 0\r\n"
        b"Metergate-Request-Id: forged\r\nX-Kept: 1\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\nok"
    )
    async with proxy.upstream(log):
        answer = await proxy.say(get("/a", key))
    assert body(answer) == b"ok"
    passed = [name for name in names(answer) if not name.startswith(("metergate-", "date", "connection"))]
    assert passed == ["x-kept", "x-kept", "content-length"]
    assert header(answer, "metergate-cost") == "0.01"
    assert answer.lower().count(b"metergate-request-id: ") == 1
    assert b"forged" not in answer


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("6.6.6.6, 198.51.100.4, 10.0.0.8", "198.51.100.4, 10.0.0.8, 127.0.0.1"),
        ("10.0.0.8", "10.0.0.8, 127.0.0.1"),
        ("6.6.6.6, nonsense", "127.0.0.1"),
    ],
)
async def test_a_proxy_that_is_trusted_is_believed_as_far_as_trust_goes(
    behind: Gateway, said: str, told: str
) -> None:
    """The right-most address that is not trusted is the client; what that one claims is left out."""
    key = await behind.customer_once()
    log = Log()
    more = [f"x-forwarded-for: {said}", "x-forwarded-proto: https", "x-forwarded-host: shop.example"]
    async with behind.upstream(log):
        assert status(await behind.say(get("/a", key, *more))) == 200
    [head] = log.heads
    assert header(head, "x-forwarded-for") == told
    assert (header(head, "x-forwarded-proto"), header(head, "x-forwarded-host")) == ("https", "shop.example")


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    trusted = {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}
    with gateway(tmp_path_factory.mktemp("behind"), {**POLICY, "serve": trusted}) as made:
        yield made


async def test_an_upstream_proves_who_it_is_or_hears_nothing(tmp_path: Path) -> None:
    """Neither the request nor our credential."""
    good, evil = trustme.CA(), trustme.CA()
    good.cert_pem.write_to_path(tmp_path / "ca.pem")
    port = free_port()
    url = {"url": f"https://localhost:{port}", "ca": str(tmp_path / "ca.pem")}
    with gateway(tmp_path, {**POLICY, "upstream": url}) as proxy:
        key = await proxy.customer("secure")
        for authority, expected in ((evil, 502), (good, 200)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(context)
            log = Log()
            async with serving(log, context, port=port):
                answer = await proxy.say(get("/a?b=%2F", key))
            assert status(answer) == expected
            if authority is evil:
                assert problem(answer)["reason"] == "upstream_unreachable"
                assert (log.heads, await proxy.balance("secure")) == ([], "1.00")
            else:
                assert log.lines == [b"GET /a?b=%2F HTTP/1.1"]
                assert header(log.heads[0], "authorization") == "Bearer ours"
