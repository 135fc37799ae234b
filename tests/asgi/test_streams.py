"""Answers that come piece by piece, clients that leave, and apps that give up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.responses import StreamingResponse as StarletteStream
from starlette.routing import Route

from metergate import InvalidInput, MeterGate, MetergateError, PaymentRequired, current
from metergate.testing.asgi import App, Receive, Request, Scope, Send, fetch
from tests.shell import PLAIN, Shell, metered, policy

METERS = policy(
    meters={
        "requests": {"count": "calls"},
        "traffic": {"count": "bytes"},
        "rows": {"count": "json", "path": "$.rows"},
        "images": {"count": "app"},
    },
    prices={
        "requests": {"price": "0.01"},
        "traffic": {"price": "0.001"},
        "rows": {"price": "0.01", "minimum": "0.005"},
        "images": {"price": "0.10"},
    },
)


def rules(**route: object) -> dict[str, object]:
    """Every path is metered, in one way."""
    return {**METERS, "routes": [{"match": "* /**", "meter": "requests", **route}]}


class Steps:
    """Chunks that exist only when the test asks for them."""

    def __init__(self) -> None:
        self.made = 0
        self._wanted = asyncio.Semaphore(0)

    def next(self) -> None:
        self._wanted.release()

    async def chunks(self) -> AsyncIterator[bytes]:
        for _ in range(3):
            await self._wanted.acquire()
            self.made += 1
            yield b"chunk%d" % self.made


def plain(steps: Steps) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for chunk in steps.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def starlette(steps: Steps) -> App:
    async def stream(request: StarletteRequest) -> Response:
        return StarletteStream(steps.chunks())

    return Starlette(routes=[Route("/x", stream)])


def fastapi(steps: Steps) -> App:
    app = FastAPI()

    @app.get("/x")
    async def stream() -> StreamingResponse:
        return StreamingResponse(steps.chunks())

    return app


@pytest.mark.parametrize("make", [plain, starlette, fastapi])
@pytest.mark.parametrize("meter", ["requests", "traffic"])
async def test_the_first_chunk_is_there_before_the_second_exists(
    tmp_path: Path, make: object, meter: str
) -> None:
    """Also where the bytes are counted as they go by."""
    steps = Steps()
    app = make(steps)  # type: ignore[operator]
    async with metered(app, tmp_path, rules(meter=meter)) as shell, shell.request("GET", "/x") as request:
        for number in (1, 2, 3):
            steps.next()
            assert await request.chunk() == b"chunk%d" % number
            assert steps.made == number
        assert await request.read() == b""
        await request.ended()
        assert await shell.summary() == [(meter, 18 if meter == "traffic" else 1, "measured")]


def watching(request: Request) -> Request:
    """A request of a server that does not tell by its `send` that the client is gone, so that apps listen."""
    request.scope["asgi"] = {"version": "3.0", "spec_version": "2.3"}
    return request


@pytest.mark.parametrize(
    ("route", "units", "measured"),
    [
        ({"meter": "traffic"}, 6, "cut"),
        ({"meter": "traffic", "on_disconnect": "hold", "hold": {"units": 50}}, 50, "held"),
        ({"meter": "requests"}, 1, "cut"),
    ],
)
async def test_a_client_that_leaves_is_settled(
    tmp_path: Path, route: dict[str, object], units: int, measured: str
) -> None:
    """By what it got, or by what was held, as the policy says."""
    steps = Steps()
    async with metered(starlette(steps), tmp_path, rules(**route)) as shell:
        async with watching(shell.request("GET", "/x")) as request:
            steps.next()
            assert await request.chunk() == b"chunk1"
            request.disconnect()
            await request.ended()
        assert await shell.summary() == [(route["meter"], units, measured)]


async def test_a_client_that_leaves_may_cost_nothing(tmp_path: Path) -> None:
    steps = Steps()
    async with metered(starlette(steps), tmp_path, rules(on_disconnect="release")) as shell:
        async with watching(shell.request("GET", "/x")) as request:
            steps.next()
            await request.chunk()
            request.disconnect()
            await request.ended()
        assert await shell.rows() == []
        assert await shell.settled() == 10**9


async def test_a_server_that_stops_the_app_settles_the_call_too(tmp_path: Path) -> None:
    """Some servers cancel the app when the client leaves."""
    steps = Steps()
    async with metered(plain(steps), tmp_path, rules(meter="traffic")) as shell:
        with suppress(ZeroDivisionError):
            async with shell.request("GET", "/x") as request:
                steps.next()
                assert await request.chunk() == b"chunk1"
                raise ZeroDivisionError
        assert await shell.summary() == [("traffic", 6, "cut")]


class Trouble(Exception):
    pass


def raising(after: bytes) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": after, "more_body": True})
        raise Trouble

    return app


@pytest.mark.parametrize(
    ("after", "route", "expected"),
    [
        (b"", {"meter": "requests"}, []),
        (b"", {"meter": "requests", "on_upstream_error": "charge"}, [("requests", 1, "measured")]),
        (b"seven b", {"meter": "traffic"}, [("traffic", 7, "cut")]),
    ],
)
async def test_an_app_that_raises(
    tmp_path: Path, after: bytes, route: dict[str, object], expected: list[object]
) -> None:
    """Before its first byte it costs nothing; after it, what was sent has its price."""
    async with metered(raising(after), tmp_path, rules(**route)) as shell:
        with pytest.raises(Trouble):
            await shell.fetch("GET", "/x")
        assert await shell.summary() == expected


@pytest.mark.parametrize(
    ("status", "route", "rows"),
    [
        (500, {}, 0),
        (503, {"on_upstream_error": "charge"}, 1),
        (404, {}, 1),
        (404, {"on_client_error": "release"}, 0),
        (301, {}, 1),
    ],
)
async def test_what_an_error_costs_is_for_the_policy(
    tmp_path: Path, status: int, route: dict[str, object], rows: int
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with metered(app, tmp_path, rules(**route)) as shell:
        assert (await shell.fetch("GET", "/x")).status == status
        assert len(await shell.rows()) == rows
        assert await shell.settled() == 10**9 - rows * 10**7


@pytest.mark.parametrize(("route", "rows"), [({}, 0), ({"on_upstream_error": "charge"}, 1)])
async def test_an_app_that_returns_without_an_answer_has_failed(
    tmp_path: Path, route: dict[str, object], rows: int
) -> None:
    """The server answers with a 500 for it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        return

    async with metered(app, tmp_path, rules(**route)) as shell:
        with pytest.raises(AssertionError, match="without an answer"):
            await shell.fetch("GET", "/x")
        assert len(await shell.rows()) == rows


async def test_a_client_that_leaves_before_the_answer_does_not_make_it_free(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with metered(app, tmp_path, rules()) as shell:
        async with shell.request("GET", "/x"):
            pass
        assert [(units, how) for _, units, how in await shell.summary()] == [(1, "cut")]


@pytest.mark.parametrize(
    ("route", "units", "cost", "measured"),
    [
        ({"on_missing_usage": "minimum"}, 0, 5_000_000, "missing"),
        ({}, 1, 10_000_000, "held"),
        ({"hold": {"units": 20}, "on_missing_usage": "hold"}, 20, 200_000_000, "held"),
        ({"hold": {"amount": "0.30"}}, 1, 300_000_000, "held"),
    ],
)
async def test_an_answer_that_does_not_say_what_it_used(
    tmp_path: Path, route: dict[str, object], units: int, cost: int, measured: str
) -> None:
    """Costs what was held, or what the policy says; never nothing because a number is missing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"rows": "many"}'})

    async with metered(app, tmp_path, rules(meter="rows", **route)) as shell:
        await shell.fetch("GET", "/x")
        (row,) = await shell.rows()
        assert (row["units"], row["cost"]["nanos"], row["measured"]) == (units, cost, measured)


COUNTED = policy(
    meters={
        "rows": {"count": "json", "path": "$.rows"},
        "asked": {"count": "json", "path": "$.rows", "of": "request"},
        "tokens": {"count": "header", "header": "x-tokens"},
        "sent": {"count": "bytes", "of": "request"},
        "all": {"count": "bytes", "of": "both"},
        "time": {"count": "seconds"},
    },
    prices={name: {"price": "0.001"} for name in ("rows", "asked", "tokens", "sent", "all", "time")},
    routes=[
        {"match": f"POST /{name}", "meter": name}
        for name in ("rows", "asked", "tokens", "sent", "all", "time")
    ],
)


@pytest.mark.parametrize(
    ("meter", "units"), [("rows", 12), ("asked", 7), ("tokens", 33), ("sent", 10), ("all", 22), ("time", 1)]
)
async def test_the_answer_itself_is_the_meter(tmp_path: Path, meter: str, units: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        headers = [(b"x-tokens", b"33")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"rows"', "more_body": True})
        await send({"type": "http.response.body", "body": b": 12}"})

    async with metered(app, tmp_path, COUNTED) as shell:
        async with shell.request("POST", f"/{meter}", None) as request:
            request.send(b'{"rows"')
            request.send(b":7}", more=False)
            assert await request.read() == b'{"rows": 12}'
        assert await shell.summary() == [(meter, units, "measured")]


async def test_headers_that_an_app_makes_as_they_are_asked_for_are_counted_and_told(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": iter([(b"x-tokens", b"33")])})
        await send({"type": "http.response.body", "body": b""})

    async with metered(app, tmp_path, COUNTED) as shell:
        assert (await shell.fetch("POST", "/tokens")).header("x-tokens") == "33"
        assert await shell.summary() == [("tokens", 33, "measured")]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("size", [1_000, 3_000_000])
async def test_a_client_does_not_choose_whether_its_usage_is_seen(
    tmp_path: Path, encoding: str, size: int
) -> None:
    """Neither by the encodings that it accepts nor by the size of what it asks for."""

    async def answer(request: StarletteRequest) -> JSONResponse:
        return JSONResponse({"rows": 12, "text": "x" * size})

    app = Starlette(routes=[Route("/x", answer)], middleware=[Middleware(GZipMiddleware)])
    async with metered(app, tmp_path, rules(meter="rows")) as shell:
        told = await shell.fetch("GET", "/x", accept_encoding=encoding)
        assert told.header("content-encoding") == (None if encoding == "identity" else encoding)
        assert await shell.summary() == [("rows", 12, "measured")]


def charging() -> FastAPI:
    """An app that counts images by itself, in every way that there is."""
    app = FastAPI()

    @app.get("/async/{count}")
    async def asynchronous(count: int) -> str:
        await current.charge("images", count)
        return f"{current.account} {current.plan} {len(current.key)}"

    @app.get("/sync/{count}")
    def synchronous(count: int) -> str:
        current.sync.charge("images", count)
        return current.account

    @app.get("/background")
    async def background() -> Response:
        return PlainTextResponse("later", background=BackgroundTask(current.charge, "images", 2))

    @app.get("/caught/{count}")
    async def caught(count: int) -> str:
        try:
            await current.charge("images", count)
        except PaymentRequired as error:
            return error.reason
        return "paid"

    @app.get("/premium")
    async def premium() -> str:
        await current.require("premium")
        return "premium"

    @app.get("/premium-sync")
    def premium_sync() -> str:
        current.sync.require("premium")
        return "premium"

    @app.get("/together")
    async def together() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(current.charge("images", 1))
            group.create_task(current.charge("images", 99))
        return "never"

    @app.get("/mistake")
    async def mistake() -> str:
        current.sync.charge("images", 1)
        return "never"

    return app


CHARGED = policy(
    plans={"free": {"features": []}, "gold": {"features": ["premium"]}},
    default_plan="free",
    routes=[{"match": "GET /free/**", "free": True}, {"match": "* /**", "meter": "requests"}],
)


@pytest.mark.parametrize("path", ["/async/3", "/sync/3"])
async def test_an_app_charges_for_what_only_it_knows(tmp_path: Path, path: str) -> None:
    """From async and from sync handlers; the charge and the call are two rows of one request."""
    async with metered(charging(), tmp_path, CHARGED) as shell:
        answer = await shell.fetch("GET", path)
        assert answer.status == 200
        assert answer.json().startswith("acct")
        assert (answer.header("metergate-cost"), answer.header("metergate-balance")) == ("0.31", "0.69")
        assert sorted(await shell.summary()) == [("images", 3, "measured"), ("requests", 1, "measured")]
        assert {row["request_id"] for row in await shell.rows()} == {answer.header("metergate-request-id")}
        assert await shell.settled() == 10**9 - 310_000_000


async def test_a_background_task_charges_after_the_answer(tmp_path: Path) -> None:
    """The call has ended by then; its charge ends at once."""
    async with metered(charging(), tmp_path, CHARGED) as shell:
        assert (await shell.fetch("GET", "/background")).body == b"later"
        assert sorted(await shell.summary()) == [("images", 2, "measured"), ("requests", 1, "measured")]
        assert not any(gate.live for gate in shell.engine.foundation.gates)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/async/30", 402, "insufficient_credits"),
        ("/sync/30", 402, "insufficient_credits"),
        ("/together", 402, "insufficient_credits"),
        ("/premium", 403, "feature_not_in_plan"),
        ("/premium-sync", 403, "feature_not_in_plan"),
    ],
)
async def test_a_refusal_that_the_app_lets_through_is_the_answer(
    tmp_path: Path, path: str, status: int, reason: str, wrapped: bool
) -> None:
    """And nothing is charged, whether MeterGate was added inside the framework's stack or around it."""
    async with _stacked(charging(), tmp_path, wrapped) as shell:
        answer = await shell.fetch("GET", path)
        assert answer.status == status
        told = answer.json()
        assert told["reason"] == reason
        assert told["request_id"] == answer.header("metergate-request-id")
        assert await shell.rows() == []
        assert await shell.settled() == 10**9


async def test_a_refusal_that_the_app_handles_is_its_own_affair(tmp_path: Path) -> None:
    async with metered(charging(), tmp_path, CHARGED) as shell:
        assert (await shell.fetch("GET", "/caught/30")).json() == "insufficient_credits"
        assert (await shell.fetch("GET", "/caught/3")).json() == "paid"
        await shell.engine.office.accounts.subscribe("acct", "gold")
        assert (await shell.fetch("GET", "/premium")).json() == "premium"


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_mistake_of_the_app_stays_a_500(tmp_path: Path, wrapped: bool) -> None:
    async with _stacked(charging(), tmp_path, wrapped) as shell:
        with pytest.raises(Exception, match=r"await current\.charge"):
            await shell.fetch("GET", "/mistake")
        assert await shell.rows() == []


def _stacked(app: FastAPI, folder: Path, wrapped: bool) -> AbstractAsyncContextManager[Shell]:
    """A gate around the app, or one that `add_middleware` puts between the framework's own."""
    if wrapped:
        return metered(app, folder, CHARGED)
    return _added(app, folder)


@asynccontextmanager
async def _added(app: FastAPI, folder: Path) -> AsyncIterator[Shell]:
    async with metered(app, folder, CHARGED) as shell:
        stack = app.build_middleware_stack()
        assert isinstance(shell.app, MeterGate)
        shell.app.app = stack.app  # type: ignore[attr-defined]  # what stands inside of ServerErrorMiddleware
        yield shell


async def test_what_a_free_route_charges_is_settled_with_it(tmp_path: Path) -> None:
    """Also when a task of the app charges after the request is over."""
    later: list[asyncio.Task[None]] = []
    go = asyncio.Event()

    async def charge_later() -> None:
        await go.wait()
        await current.charge("images", 1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await current.charge("images", 2)
        later.append(asyncio.create_task(charge_later()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with metered(app, tmp_path, CHARGED) as shell:
        assert (await shell.fetch("GET", "/free/x")).status == 200
        assert await shell.summary() == [("images", 2, "measured")]
        go.set()
        await asyncio.gather(*later)
        assert sorted(await shell.summary()) == [("images", 1, "measured"), ("images", 2, "measured")]


@pytest.mark.parametrize(
    ("meter", "amount"),
    [
        *[
            ("images", each)
            for each in (-1, 1.5, float("nan"), float("inf"), True, "1_0", "3e1", "３", None, 2**63, 10**400)
        ],
        ("unheard", 1),
        ("rows", 1),
    ],
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_nonsense_is_not_charged(tmp_path: Path, meter: str, amount: object, kind: str) -> None:
    """An exception that says what helps; nothing is held, counted or paid."""
    caught: list[str] = []
    app = FastAPI()

    @app.get("/async")
    async def asynchronous() -> None:
        with pytest.raises(InvalidInput) as raised:
            await current.charge(meter, amount)  # type: ignore[arg-type]
        caught.append(str(raised.value))

    @app.get("/sync")
    def synchronous() -> None:
        with pytest.raises(InvalidInput) as raised:
            current.sync.charge(meter, amount)  # type: ignore[arg-type]
        caught.append(str(raised.value))

    async with metered(app, tmp_path, METERS) as shell:
        assert (await shell.fetch("GET", f"/{kind}")).status == 200
        assert await shell.summary() == [("requests", 1, "measured")]
    assert caught


async def test_outside_of_a_call_there_is_nothing_to_charge(tmp_path: Path) -> None:
    async with metered(charging(), tmp_path, PLAIN) as shell:
        with pytest.raises(MetergateError, match="while the app serves one"):
            await current.charge("images", 1)
        assert (await fetch(shell.app, "GET", "/public")).status == 404
