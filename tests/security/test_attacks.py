"""What somebody without money, with somebody else's, or with a key that is over, tries at the data port."""

import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from posixpath import normpath
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from metergate import current
from metergate.core import keys
from metergate.errors import InvalidInput
from metergate.testing.asgi import Answer, Receive, Scope, Send, fetch
from metergate.testing.clock import FakeClock
from tests.asking import AUTHZ, fronted
from tests.shell import CENT, Shell, hello, metered, policy, problem

BEARER = "authorization"


@asynccontextmanager
async def gated(folder: Path, app: Any = hello, **changes: Any) -> AsyncIterator[Shell]:
    async with metered(app, folder, policy(**changes)) as shell:
        yield shell


async def ask(shell: Shell, *headers: tuple[str, str], target: str = "/x", method: str = "GET") -> Answer:
    return await fetch(shell.app, method, target, headers=headers)


# -- keys --------------------------------------------------------------------------------------------------


async def test_a_key_counts_only_where_a_key_may_stand(tmp_path: Path) -> None:
    """Not in the address, a cookie, another spelling, another scheme, or two in one header."""
    async with gated(tmp_path) as shell:
        key = shell.key
        places: list[tuple[str, tuple[tuple[str, str], ...]]] = [
            (f"/x?key={key}", ()),
            (f"/x?api_key={key}", ()),
            (f"/x/{key}", ()),
            ("/x", (("cookie", f"x-api-key={key}"),)),
            ("/x", (("x_api_key", key),)),
            ("/x", (("proxy-authorization", f"Bearer {key}"),)),
            ("/x", (("metergate-key", key),)),
            ("/x", ((BEARER, key),)),
            ("/x", ((BEARER, f"Basic {key}"),)),
            ("/x", ((BEARER, f"Bearer {key}, {key}"),)),
            ("/x", ((BEARER, f"Bearer Bearer {key}"),)),
            ("/x", (("x-api-key", f'"{key}"'),)),
            ("/x", (("x-api-key", key.upper()),)),
            ("/x", (("x-api-key", key.swapcase()),)),
            ("/x", (("x-api-key", key + "\x00"),)),
            ("/x", (("x-api-key", "\ufeff".encode().decode("latin-1") + key),)),
        ]
        for target, headers in places:
            answer = await ask(shell, *headers, target=target)
            assert answer.status == 401, (target, headers)
        assert (await ask(shell, ("x-api-key", key))).status == 200
        assert await shell.summary() == [("requests", 1, "measured")]


async def test_two_keys_are_refused_also_when_both_were_seen_a_moment_ago(tmp_path: Path) -> None:
    """Neither pays for the other, in whatever headers they stand."""
    async with gated(tmp_path) as shell:
        mine, other = shell.key, await shell.customer("other")
        for header in (BEARER, "x-api-key"):
            for key in (mine, other):
                shown = f"Bearer {key}" if header == BEARER else key
                for _ in range(2):
                    assert (await ask(shell, (header, shown))).status == 200
        before = len(await shell.rows()) + len(await shell.rows("other"))
        for headers in (
            ((BEARER, f"Bearer {mine}"), ("x-api-key", other)),
            (("x-api-key", mine), ("x-api-key", other)),
            ((BEARER, f"Bearer {mine}"), (BEARER, f"Bearer {other}")),
            ((BEARER, f"Bearer {mine}"), ("api-key", "mg_live_nothing")),
        ):
            assert problem(await ask(shell, *headers), "two_keys")["status"] == 400
        assert len(await shell.rows()) + len(await shell.rows("other")) == before


async def test_nobody_learns_whether_a_key_exists(tmp_path: Path) -> None:
    """Unknown, or known with a wrong secret: one answer. Only the owner of a key hears that it is over."""
    async with gated(tmp_path) as shell:
        known = keys.parse(shell.key)
        assert known is not None
        body = f"mg_live_{known.kid}_{'0' * keys.SECRET_LENGTH}"
        forged = body + keys._checksum(body)
        assert keys.parse(forged) is not None
        gone = await shell.engine.office.keys.create("acct")
        await shell.engine.office.keys.revoke(gone["kid"])
        over = f"mg_live_{gone['kid']}_{'1' * keys.SECRET_LENGTH}"
        shown = (forged, keys.mint("live", secrets.token_bytes), over + keys._checksum(over))
        told = []
        for key in shown:
            answer = await ask(shell, ("x-api-key", key))
            said = answer.json()
            headers = {name: value for name, value in answer.headers if name != b"metergate-request-id"}
            said.pop("request_id")
            told.append((answer.status, headers, said))
        assert told[0] == told[1] == told[2]
        assert told[0][0] == 401
        assert problem(await ask(shell, ("x-api-key", gone["key"])), "key_revoked")["status"] == 401


async def test_a_revoked_key_opens_no_socket(tmp_path: Path) -> None:
    """Also where it was good a moment ago, and also a socket that is free."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})
        else:
            await hello(scope, receive, send)

    async with gated(tmp_path, app) as shell:
        for path in ("/x", "/free/x"):
            async with shell.websocket(path) as socket:
                assert await socket.accepted() is None
        kid = shell.key.split("_")[2]
        await shell.engine.office.keys.revoke(kid)
        async with shell.websocket("/x") as socket:
            refused = await socket.accepted()
            assert refused is not None


async def test_a_revoked_key_is_over_within_a_second_where_nothing_is_held(tmp_path: Path) -> None:
    """What costs nothing may believe for a second what it has just seen."""
    clock = FakeClock()
    async with metered(hello, tmp_path, clock=clock) as shell:
        assert (await shell.fetch("GET", "/free/x")).status == 200
        await shell.engine.office.keys.revoke(shell.key.split("_")[2])
        clock.advance(seconds=1)
        assert problem(await shell.fetch("GET", "/free/x"), "key_revoked")["status"] == 401


# -- paths -------------------------------------------------------------------------------------------------

TRICKS = (
    "/public/../paid/x",
    "/public/%2e%2e/paid/x",
    "/public/.%2e/paid/x",
    "/public//../paid/x",
    "/public/..%2fpaid/x",
    "/public/..%5cpaid/x",
    "/public/..;/paid/x",
    "/public;/../paid/x",
    "//paid/x",
    "/paid//x",
    "/./paid/x",
    "/paid/./x",
    "/paid%2fx",
    "/%70aid/x",
    "/%70%61%69%64/x",
    "/PAID/x",
    "/paid/x/",
    "/paid/x%20",
    "/paid/x%00",
    "/paid/x%0a",
    "/paid/x?a=/public",
    "/public?/../paid/x",
    "/public/x#/paid/x",
    "/paid/x;public",
    "/paid%252fx",
    "/\\paid/x",
    "/public/x/../../paid/x",
    "/public/%c0%ae%c0%ae/paid/x",
    "/public/%ef%bc%8e%ef%bc%8e/paid/x",
    "/public/x%2f..%2f..%2fpaid%2fx",
    "paid/x",
    "http://testserver/paid/x",
    "/http://testserver/paid/x",
    "/billing/v1/../../paid/x",
    "/billing/v1/%2e%2e/%2e%2e/paid/x",
    "/sub/paid/x",
    "/sub//paid/x",
    "/sub/../paid/x",
    "/sub/%2e%2e/paid/x",
    "/public/sub/paid/x",
    "/sub",
    "/sub/",
)


Apps = Callable[[list[str]], Any]
"""Makes an app that notes each paid thing that it served."""


def routed(ran: list[str]) -> Any:
    """Starlette's own router, with its mounts and its decoding."""

    async def paid(request: Request) -> Response:
        ran.append(request.url.path)
        return PlainTextResponse("paid")

    async def public(_request: Request) -> Response:
        return PlainTextResponse("public")

    methods = ["GET", "POST", "OPTIONS"]
    sub = Starlette(routes=[Route("/paid/{rest:path}", paid, methods=methods)])
    own = [
        Route(f"/{name}/{{rest:path}}", each, methods=methods)
        for name, each in (("paid", paid), ("public", public))
    ]
    return Starlette(routes=[*own, Mount("/sub", sub)])


def careless(ran: list[str]) -> Any:
    """What stands behind many a proxy: it decodes twice, drops parameters and resolves dots."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = re.sub(r";[^/]*", "", unquote(scope["path"])).replace("\\", "/")
        path = normpath(path).replace("//", "/")
        if path.startswith(("/paid/", "/sub/paid/")):
            ran.append(path)
        await hello(scope, receive, send)

    return app


@pytest.mark.parametrize("make", [routed, careless])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "get", "OPTIONS"])
async def test_whatever_a_path_looks_like_what_is_served_is_charged(
    tmp_path: Path, make: Apps, method: str
) -> None:
    """Whoever stands behind the gate never meets something paid by a rule that is free."""
    ran: list[str] = []
    rules = [
        {"match": "* /public/**", "public": True},
        {"match": "* /paid/**", "meter": "requests"},
        {"match": "* /sub/paid/**", "meter": "requests"},
    ]
    async with gated(tmp_path, make(ran), routes=rules, default="free") as shell:
        for trick in TRICKS:
            for key in ("", shell.key):
                shown = [(BEARER, f"Bearer {key}")] if key else []
                before = len(ran)
                await ask(shell, *shown, target=trick, method=method)
                assert key or len(ran) == before, trick
        assert len(await shell.rows()) == len(ran)
        assert ran or method == "get"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ((), 200),
        ((("content-length", "0"),), 200),
        ((("content-length", "5"),), 401),
        ((("transfer-encoding", "chunked"),), 401),
    ],
)
async def test_what_is_free_as_a_preflight_carries_nothing(
    tmp_path: Path, more: tuple[tuple[str, str], ...], status: int
) -> None:
    """Otherwise anybody could send an upstream what they like."""
    asked = (("origin", "https://a.example"), ("access-control-request-method", "POST"), *more)
    async with gated(tmp_path) as shell:
        assert (await ask(shell, *asked, method="OPTIONS")).status == status


# -- what belongs to others --------------------------------------------------------------------------------


async def test_an_idempotency_key_of_somebody_else_is_ones_own(tmp_path: Path) -> None:
    """Neither the other's answer nor the other's charge is to be had with it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        who = (current.account or "").encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": who})

    async with gated(tmp_path, app) as shell:
        other = await shell.customer("other")
        for key, account in ((shell.key, b"acct"), (other, b"other"), (other, b"other")):
            answer = await ask(
                shell, (BEARER, f"Bearer {key}"), ("idempotency-key", "order-1"), method="POST"
            )
            assert answer.body == account
        assert len(await shell.rows()) == len(await shell.rows("other")) == 1


async def test_a_customer_is_who_the_key_says(tmp_path: Path) -> None:
    """No parameter, body or header makes somebody another account on the customer's side."""
    async with gated(tmp_path) as shell:
        other = await shell.customer("other")
        await ask(shell, (BEARER, f"Bearer {other}"))
        [row] = await shell.rows("other")
        mine = (BEARER, f"Bearer {shell.key}")
        for target in ("usage?account=other", "credits?account=other", "subscription?account=other"):
            assert (await ask(shell, mine, target=f"/billing/v1/{target}")).status == 400
        for header in ("metergate-account", "x-metergate-account", "metergate_account"):
            told = await ask(shell, mine, (header, "other"), target="/billing/v1/usage")
            assert told.json()["data"] == []
        assert (await ask(shell, mine, target=f"/billing/v1/usage/{row['request_id']}")).status == 404
        for more in (
            {"account": "other"},
            {"cost": "0"},
            {"cost": "-1"},
            {"key": "x"},
            {"plan": "x"},
            {"units": -1},
        ):
            body = {"meter": "requests", "units": 1, **more}
            answer = await shell.fetch(
                "POST",
                "/billing/v1/usage",
                str(body).replace("'", '"').encode(),
                content_type="application/json",
            )
            assert answer.status == 400, more
        assert await shell.rows() == []


@pytest.mark.parametrize("count", [-1, -(2**62), 0.5, True, 2**63])
async def test_an_app_cannot_be_made_to_give_credits(tmp_path: Path, count: Any) -> None:
    """A count that a client chose, and that the app passes on, is refused before it moves anything."""
    refused: list[Exception] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await current.charge("images", count)
        except (InvalidInput, ValueError, TypeError) as error:
            refused.append(error)
        await hello(scope, receive, send)

    async with gated(tmp_path, app) as shell:
        assert (await shell.fetch("GET", "/x")).status == 200
        assert len(refused) == 1
        assert await shell.settled() == 99 * CENT
        assert await shell.summary() == [("requests", 1, "measured")]


# -- the front's door --------------------------------------------------------------------------------------


async def test_the_token_of_a_front_opens_nothing_of_the_operators(tmp_path: Path) -> None:
    """Whatever path it takes."""
    async with fronted(tmp_path) as (front, _):
        for path in (
            "/admin/v1/accounts",
            "/authz/v1/../../admin/v1/accounts",
            "/authz/v1/%2e%2e/%2e%2e/admin/v1/accounts",
            "/authz/v1//admin/v1/accounts",
            "//admin/v1/accounts",
            "/authz/v1/hold/../../../admin/v1/keys",
        ):
            answer = await fetch(front.app, "GET", path, headers={"metergate-token": AUTHZ})
            assert answer.status in (401, 404), path


# -- what lies on the disk ---------------------------------------------------------------------------------


@contextmanager
def umask(mode: int) -> Iterator[None]:
    before = os.umask(mode)
    try:
        yield
    finally:
        os.umask(before)


async def test_what_lies_in_the_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Folder, journal, ledger, secrets and socket, under the most careless umask."""
    with umask(0):
        async with gated(tmp_path) as shell:
            await shell.fetch("GET", "/x")
            await shell.rows()
            folder = tmp_path / "data"
            modes = {
                str(path.relative_to(tmp_path)): stat.S_IMODE(path.lstat().st_mode)
                for path in (folder, *folder.rglob("*"))
            }
    assert {"data", "data/pepper", "data/owner.sock", "data/lock", "data/ledger.sqlite"} <= modes.keys()
    assert any(name.endswith(".journal") for name in modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
