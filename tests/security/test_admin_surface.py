"""The operator's side is a door of its own: a token, no guessing, nothing a browser can be made to do."""

import asyncio
from collections.abc import AsyncIterator
from itertools import product

import pytest

from metergate.api import admin_app
from metergate.api.guard import Guarded
from metergate.gate.guesses import Guesses
from metergate.testing.asgi import Answer, Request, fetch
from metergate.testing.clock import FakeClock
from tests.admin.bench import Bench, opened, sqlite
from tests.api.client import TOKEN, problem

OPEN = ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/page.js")
CLOSED = (
    "/admin/v1/accounts",
    "/admin/v1/policy",
    "/nothing",
    "/authz/v1/hold",
    "/DOCS",
    "/docs/",
    "//livez",
)
RIGHT = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with opened(sqlite(tmp_path_factory.mktemp("office")), FakeClock()) as made:
        yield made


async def ask(bench: Bench, path: str, *hosts: str, method: str = "GET", **headers: str) -> Answer:
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return await fetch(admin_app(bench.office, TOKEN, hosts=hosts), method, path, headers=found)


async def test_what_is_open_is_told_under_a_name_that_is_nobody_elses(bench: Bench) -> None:
    """Probes and scrapers need no token."""
    made = admin_app(bench.office, TOKEN)
    hosts = ("127.0.0.1:8081", "localhost:8081", "[::1]:8081", "10.1.2.3", "metergate:8081", "a.localhost")
    for path, host in product(OPEN, hosts):
        assert (await fetch(made, "GET", path, headers={"host": host})).status in (200, 503), (path, host)


async def test_a_name_that_was_made_to_lead_here_learns_nothing(bench: Bench) -> None:
    """DNS rebinding: a page of evil.example asks the machine of whoever reads it."""
    closed, named = admin_app(bench.office, TOKEN), admin_app(bench.office, TOKEN, hosts={"evil.example"})
    for path, host in product(
        OPEN, ("evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example")
    ):
        headers = {"host": host}
        assert problem(await fetch(closed, "GET", path, headers=headers))["reason"] == "misdirected"
    assert (await fetch(named, "GET", "/livez", headers={"host": "EVIL.example:8081"})).status == 200
    assert (await ask(bench, "/livez", "*", host="any.example")).status == 200


async def test_an_operator_who_shows_the_token_may_use_any_name(bench: Bench) -> None:
    """No page in a browser has it."""
    answer = await ask(bench, "/admin/v1/accounts", host="admin.example.com", **RIGHT)
    assert answer.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer"},
        {"metergate-token": ""},
        {"cookie": f"token={TOKEN}"},
        {"x-forwarded-for": "127.0.0.1", "x-original-url": "/livez"},
    ],
)
async def test_everything_else_needs_the_token(bench: Bench, headers: dict[str, str]) -> None:
    """Also to learn that there is nothing at a path."""
    made = admin_app(bench.office, TOKEN)
    for path in CLOSED:
        answer = await fetch(made, "GET", path, headers=headers)
        assert problem(answer)["reason"] == "unauthorized", path


@pytest.mark.parametrize("query", [f"token={TOKEN}", f"access_token={TOKEN}", f"authorization={TOKEN}"])
async def test_no_secret_is_taken_from_an_address(bench: Bench, query: str) -> None:
    """Addresses end up in logs and histories."""
    assert (await ask(bench, f"/admin/v1/accounts?{query.replace(' ', '%20')}")).status == 401


async def test_two_tokens_are_none(bench: Bench) -> None:
    """Whoever could add a header in between must not choose which one counts."""
    made = admin_app(bench.office, TOKEN)
    for pairs in (
        [("authorization", "Bearer x"), ("authorization", f"Bearer {TOKEN}")],
        [("metergate-token", TOKEN)] * 2,
    ):
        assert (await fetch(made, "GET", "/admin/v1/accounts", headers=pairs)).status == 401


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_no_other_origin_is_ever_let_in(bench: Bench, method: str) -> None:
    """There is no CORS here: a browser asks first, and gets no yes."""
    asked = {"origin": "https://evil.example", "access_control_request_method": "POST"}
    for path in ("/admin/v1/accounts", "/metrics", "/openapi.json"):
        answer = await ask(bench, path, method=method, **asked)
        assert not [name for name, _ in answer.headers if name.startswith(b"access-control-")]
        assert answer.header("cross-origin-resource-policy") == "same-origin"


async def test_browsers_are_told_to_guess_and_to_frame_nothing(bench: Bench) -> None:
    """Whatever the answer is."""
    made = admin_app(bench.office, TOKEN)
    for path, headers in product((*OPEN, "/admin/v1/accounts", "/nothing"), ({}, RIGHT)):
        answer = await fetch(made, "GET", path, headers=headers)
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("cache-control") == "no-store"
    page = await fetch(made, "GET", "/docs")
    assert "frame-ancestors 'none'" in (page.header("content-security-policy") or "")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp", ""],
)
async def test_a_form_of_a_page_is_no_request(bench: Bench, kind: str) -> None:
    """A browser sends these without asking first."""
    made = admin_app(bench.office, TOKEN)
    headers = {**RIGHT, **({"content-type": kind} if kind else {})}
    answer = await fetch(made, "POST", "/admin/v1/accounts", headers=headers, body=b'{"id": "ada"}')
    assert problem(answer)["reason"] == "unsupported_media_type"


async def test_a_body_without_an_end_is_cut_short(bench: Bench) -> None:
    """At one megabyte, whatever its head said of it."""
    made = admin_app(bench.office, TOKEN)
    headers = {**RIGHT, "content-type": "application/json"}
    async with Request(made, "POST", "/admin/v1/accounts", headers=headers, body=None) as request:
        for _ in range(17):
            request.send(b" " * 65_536)
        assert await request.status() == 413


async def test_guessing_is_slow(bench: Bench) -> None:
    """After ten wrong tokens from an address nobody there is listened to, not even with the right one."""
    made = admin_app(bench.office, TOKEN)

    async def status(token: str) -> int:
        return (
            await fetch(made, "GET", "/admin/v1/accounts", headers={"authorization": f"Bearer {token}"})
        ).status

    assert [await status(f"guess {n}") for n in range(12)] == [401] * 10 + [429] * 2
    assert await status(TOKEN) == 429
    answer = await fetch(made, "GET", "/authz/v1/x", headers={"metergate-token": "another guess"})
    assert problem(answer)["reason"] == "too_many_guesses"
    assert 1 <= int(answer.header("retry-after") or 0) <= 7


async def test_what_clients_send_along_does_not_lock_their_front_out(bench: Bench) -> None:
    """A front that shows the right token goes on, whatever it passes on of others."""
    made = admin_app(bench.office, TOKEN)
    right = {"metergate-token": TOKEN, "authorization": "Bearer mg_live_of_a_client"}
    for _ in range(30):
        assert (await fetch(made, "GET", "/authz/v1/nothing", headers=right)).status != 401
        assert (await fetch(made, "GET", "/authz/v1/nothing", headers={"metergate-token": "x"})).status == 401


def test_wrong_tokens_are_forgotten_one_by_one() -> None:
    """Ten at once, then one in six seconds; each address for itself, and few are remembered."""
    now = [0.0]
    guesses = Guesses(lambda: now[0])
    for _ in range(10):
        assert guesses.wait_s("a") == 0
        guesses.wrong("a")
    assert guesses.wait_s("a") == 7
    assert guesses.wait_s("b") == 0
    now[0] += 6.5
    assert guesses.wait_s("a") == 0
    guesses.wrong("a")
    assert guesses.wait_s("a") > 0
    for n in range(2 * Guesses.ADDRESSES):
        guesses.wrong(f"b{n}")
    assert len(guesses._until) <= Guesses.ADDRESSES


async def test_an_ipv6_caller_is_its_network() -> None:
    """Everybody has 2 to the 64 addresses."""
    seen: list[int] = []

    async def inner(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError("nobody gets here")

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        if "status" in message:
            seen.append(message["status"])

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0)
        return {"type": "http.request"}

    guarded = Guarded(inner, ("right",), Guesses())
    for n in range(12):
        scope = {
            "type": "http",
            "headers": [(b"authorization", b"Bearer x")],
            "client": (f"2001:db8::{n:x}", 1),
        }
        await guarded(scope, receive, send)
    assert seen == [401] * 10 + [429] * 2
