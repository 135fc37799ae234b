"""What passes through is unchanged, but for what the contract adds."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from metergate import MeterGate, current
from metergate.config.settings import Settings
from metergate.testing.asgi import Answer, App, Message, Receive, Scope, Send, fetch, lifespan
from tests.shell import hello, metered, policy, problem

ADDED = ("metergate-request-id", "metergate-cost", "metergate-balance")


def without_ours(answer: Answer) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in answer.headers if name.decode() not in ADDED]


async def odd(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with everything that a middleware likes to lose."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    headers = [(b"set-cookie", b"a=1"), (b"x-twice", b"1"), (b"set-cookie", b"b=2"), (b"x-twice", b"2")]
    echoed = repr((scope["method"], scope["path"], scope["raw_path"], scope["query_string"], body)).encode()
    await send({"type": "http.response.start", "status": 218, "headers": headers})
    await send({"type": "http.response.body", "body": echoed[:7], "more_body": True})
    await send({"type": "http.response.body", "body": echoed[7:]})


@pytest.mark.parametrize("path", ["/x", "/free/x", "/public"])
@pytest.mark.parametrize("target", ["", "?a=1&b=%2F&a=2"])
async def test_the_answer_is_that_of_the_bare_app(tmp_path: Path, path: str, target: str) -> None:
    """Status, every header in its place, repeated ones too, and the body; whatever the route costs."""
    async with metered(odd, tmp_path) as shell:
        bare = await fetch(odd, "GET", path + target, body=b"sent")
        for _ in range(2):
            answer = await shell.fetch("GET", path + target, b"sent")
            assert (answer.status, answer.body) == (bare.status, bare.body)
            assert without_ours(answer) == bare.headers
            assert answer.header("metergate-request-id")


async def test_what_a_call_costs_and_leaves_is_told_before_the_first_byte(tmp_path: Path) -> None:
    async with metered(odd, tmp_path) as shell:
        answer = await shell.fetch("GET", "/x")
        assert answer.header("metergate-cost") == "0.01"
        assert answer.header("metergate-balance") == "0.99"
        free = await shell.fetch("GET", "/free/x")
        assert free.header("metergate-cost") is None
        assert answer.header("metergate-request-id") != free.header("metergate-request-id")


async def test_a_policy_may_keep_cost_and_balance_to_itself(tmp_path: Path) -> None:
    nothing = {"cost": False, "balance": False, "limits": False}
    quiet = policy(show=nothing, limits=[{"rate": 9, "per": "day"}])
    async with metered(odd, tmp_path, quiet) as shell:
        answer = await shell.fetch("GET", "/x")
        assert [name for name, _ in answer.headers][4:] == [b"metergate-request-id"]


async def messages_of(app: App, scope_more: dict[str, Any], headers: Any) -> list[Message]:
    """What the app sends, message by message."""
    sent: list[Message] = []
    body: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return body.pop() if body else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "query_string": b"",
        "root_path": "", "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "http_version": "1.1", "scheme": "http", "server": None, "client": None, **scope_more,
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


async def trailing(scope: Scope, receive: Receive, send: Send) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
    await send(start)
    await send({"type": "http.response.body", "body": b"x", "more_body": False})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False})


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", b'"1"')]})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("app", [trailing, silent])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_trailers_and_empty_answers_pass_as_they_are(tmp_path: Path, app: App, method: str) -> None:
    """And each is one call."""
    async with metered(app, tmp_path) as shell:
        bare = await messages_of(app, {"method": method}, {})
        seen = await messages_of(shell.app, {"method": method}, shell.headers())
        for message in (bare[0], seen[0]):
            message["headers"] = [each for each in message["headers"] if each[0].decode() not in ADDED]
        assert seen == bare
        assert await shell.summary() == [("requests", 1, "measured")]


BYTES = policy(
    meters={"requests": {"count": "calls"}, "traffic": {"count": "bytes"}},
    prices={"requests": {"price": "0.01"}, "traffic": {"price": "0.000001"}},
    routes=[{"match": "GET /counted", "meter": "traffic"}, {"match": "* /**", "meter": "requests"}],
)


@pytest.mark.parametrize("path", ["/x", "/counted"])
async def test_a_file_that_the_server_would_send_is_counted_all_the_same(tmp_path: Path, path: str) -> None:
    """Uncounted, the server still gets the file's name; counted, the bytes pass by."""
    file = tmp_path / "file.txt"
    file.write_bytes(b"x" * 70_000)

    async def answer(request: StarletteRequest) -> Response:
        return FileResponse(file)

    app = Starlette(routes=[Route("/{any}", answer)])
    async with metered(app, tmp_path, BYTES) as shell:
        offered = {"extensions": {"http.response.pathsend": {}}, "path": path, "raw_path": path.encode()}
        seen = await messages_of(shell.app, offered, shell.headers())
        if path == "/x":
            assert seen[-1] == {"type": "http.response.pathsend", "path": str(file)}
            assert await shell.summary() == [("requests", 1, "measured")]
        else:
            assert sum(len(message["body"]) for message in seen[1:]) == 70_000
            assert await shell.summary() == [("traffic", 70_000, "measured")]


@pytest.mark.parametrize("name", ["metergate-balance", "metergate_balance", "METERGATE-Cost", "metergate-x"])
@pytest.mark.parametrize("path", ["/x", "/free/x", "/public"])
async def test_nobody_outside_speaks_for_metergate(tmp_path: Path, name: str, path: str) -> None:
    """Headers that only metergate may set never reach the app, however they are spelled; others do."""
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(name for name, _ in scope["headers"])
        await hello(scope, receive, send)

    async with metered(app, tmp_path) as shell:
        for _ in range(2):  # the second call takes the shorter way
            headers = {**dict(shell.headers()), name: "1000000", "x-other": "1"}
            assert (await fetch(shell.app, "GET", path, headers=headers)).status == 200
    assert seen.count(b"x-other") == 2
    assert not [each for each in seen if each.lower().replace(b"_", b"-").startswith(b"metergate")]


def cors_app() -> Starlette:
    async def plain(request: StarletteRequest) -> Response:
        return PlainTextResponse("plain")

    return Starlette(routes=[Route("/x", plain)])


@pytest.mark.parametrize("place", ["inside", "outside"])
async def test_a_preflight_is_free_and_needs_no_key(tmp_path: Path, place: str) -> None:
    """Wherever the app's CORS middleware stands; an ordinary OPTIONS is a call like any other."""
    inner = cors_app()
    if place == "inside":
        inner.user_middleware = [Middleware(CORSMiddleware, allow_origins=["https://a.example"])]
    async with metered(inner, tmp_path) as shell:
        app: App = shell.app
        if place == "outside":
            app = CORSMiddleware(app, allow_origins=["https://a.example"])
        asked = {"origin": "https://a.example", "access-control-request-method": "GET"}
        answer = await fetch(app, "OPTIONS", "/x", headers=asked)
        assert answer.status == 200
        assert answer.header("access-control-allow-origin") == "https://a.example"
        refused = await fetch(app, "GET", "/x", headers={"origin": "https://a.example"})
        problem(refused, "key_missing")
        if place == "outside":
            assert refused.header("access-control-allow-origin") == "https://a.example"
        ordinary = await fetch(shell.app, "OPTIONS", "/x", headers={"origin": "https://a.example"})
        assert ordinary.status == 401
        assert await shell.rows() == []


async def test_the_policy_sees_the_whole_path_of_a_mounted_app(tmp_path: Path) -> None:
    """A gate inside a mount charges what is mounted, and nothing else."""

    async def whoami(request: StarletteRequest) -> Response:
        return PlainTextResponse(current.account)

    rules = policy(routes=[{"match": "GET /paid/{name}", "meter": "requests"}])
    inner = Starlette(routes=[Route("/who", whoami)])
    async with metered(inner, tmp_path, rules) as shell:
        free = Route("/open", lambda _: PlainTextResponse("open"))
        outer = Starlette(routes=[Mount("/paid", shell.app), free])
        answer = await fetch(outer, "GET", "/paid/who", headers=shell.headers())
        assert (answer.status, answer.body) == (200, b"acct")
        assert (await fetch(outer, "GET", "/open")).status == 200
        problem(await fetch(outer, "GET", "/paid/who"), "key_missing")
        assert [row["path"] for row in await shell.rows()] == ["/paid/who"]


async def test_two_gates_over_one_data_folder_share_their_accounts(tmp_path: Path) -> None:
    """Each with its own policy; the last to leave closes the folder."""
    settings = Settings(data=tmp_path / "data")
    cheap = MeterGate(hello, policy(), settings=settings)
    prices = {"requests": {"price": "0.50"}, "images": {"price": "1"}}
    dear = MeterGate(hello, policy(prices=prices), settings=settings)
    async with lifespan(cheap):
        async with lifespan(dear):
            office = cheap.engine.office
            await office.accounts.create("acct")
            await office.credits.grant("acct", "1.00")
            key = {"x-api-key": (await office.keys.create("acct"))["key"]}
            first = await fetch(cheap, "GET", "/x", headers=key)
            second = await fetch(dear, "GET", "/x", headers=key)
            assert first.header("metergate-balance") == "0.99"
            assert second.header("metergate-balance") == "0.49"
        assert (await fetch(cheap, "GET", "/x", headers=key)).header("metergate-balance") == "0.48"
        assert (await office.do("verify", {}))["ok"]
    again = MeterGate(hello, policy(), settings=settings)
    async with lifespan(again):
        assert (await fetch(again, "GET", "/x", headers=key)).header("metergate-balance") == "0.47"


async def test_two_gates_that_begin_at_the_same_moment_share_the_folder(tmp_path: Path) -> None:
    """Also without a lifespan, when each begins with its first request."""
    settings = Settings(data=tmp_path / "data")
    gates = [MeterGate(hello, policy(), settings=settings) for _ in range(3)]
    answers = await asyncio.gather(*[fetch(gate, "GET", "/x") for gate in gates])
    assert [answer.status for answer in answers] == [401, 401, 401]
    await asyncio.gather(*[gate.engine.stop() for gate in gates])


async def test_two_gates_over_two_folders_know_nothing_of_each_other(tmp_path: Path) -> None:
    async with metered(hello, tmp_path / "one") as one, metered(hello, tmp_path / "two") as two:
        assert (await one.fetch("GET", "/x")).status == 200
        problem(await two.fetch("GET", "/x", key=one.key), "key_invalid")
        assert (len(await one.rows()), len(await two.rows())) == (1, 0)


async def test_what_the_customer_may_ask_is_answered_by_the_gate(tmp_path: Path) -> None:
    """Usage of a moment ago is in the list, and the identity is the key's."""
    async with metered(hello, tmp_path) as shell:
        other = await shell.customer("other", "5.00")
        made = await shell.fetch("GET", "/x")
        credits = (await shell.fetch("GET", "/billing/v1/credits")).json()
        assert credits["balance"]["amount"] == "0.99"
        (row,) = (await shell.fetch("GET", "/billing/v1/usage")).json()["data"]
        assert row["request_id"] == made.header("metergate-request-id")
        assert (await shell.fetch("GET", "/billing/v1/usage", key=other)).json()["data"] == []
        problem(await shell.fetch("GET", "/billing/v1/usage", key=""), "key_missing")
        assert len(await shell.rows()) == 1
