"""Sockets: held when they open, counted by message or by second, closed when the money is out."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as Socket
from starlette.websockets import WebSocketDisconnect

from metergate import current
from metergate.testing.asgi import App, Message, Receive, Scope, Send, WebSocket
from metergate.testing.clock import FakeClock
from tests.shell import CENT, Shell, metered, policy

RULES = policy(
    meters={
        "requests": {"count": "calls"},
        "messages": {"count": "messages"},
        "seconds": {"count": "seconds"},
        "images": {"count": "app"},
        "down": {"count": "bytes"},
        "traffic": {"count": "bytes", "of": "both"},
        "rows": {"count": "json", "path": "$.rows"},
        "tokens": {"count": "header", "header": "x-tokens"},
    },
    prices={
        "requests": {"price": "0.01"},
        "messages": {"price": "0.01"},
        "seconds": {"price": "0.01"},
        "images": {"price": "0.10"},
        "down": {"price": "0.01"},
        "traffic": {"price": "0.01"},
        "rows": {"price": "0.01"},
        "tokens": {"price": "0.01"},
    },
    routes=[
        {"match": "GET /call", "meter": "requests"},
        {"match": "GET /messages", "meter": "messages"},
        {"match": "GET /ten", "meter": "messages", "hold": {"units": 10}},
        {"match": "GET /seconds", "meter": "seconds"},
        *[{"match": f"GET /{name}", "meter": name} for name in ("down", "traffic", "rows", "tokens")],
        {"match": "GET /free", "free": True},
        {"match": "GET /public", "public": True},
    ],
)


async def echo(socket: Socket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return


async def turned_down(socket: Socket) -> None:
    await socket.close(4000)


async def charging(socket: Socket) -> None:
    await socket.accept()
    while True:
        await current.charge("images", int(await socket.receive_text()))
        await socket.send_text(current.account)


def app(handler: Callable[[Socket], Any] = echo) -> Starlette:
    return Starlette(routes=[WebSocketRoute("/{any}", handler)])


async def said(socket: WebSocket, *texts: str) -> None:
    for text in texts:
        socket.send(text)
        assert await socket.receive() == text


@pytest.mark.parametrize(("path", "meter", "units"), [("/call", "requests", 1), ("/messages", "messages", 3)])
async def test_a_socket_costs_a_call_or_its_messages(
    tmp_path: Path, path: str, meter: str, units: int
) -> None:
    async with metered(app(), tmp_path, RULES) as shell:
        async with shell.websocket(path) as socket:
            assert await socket.accepted() is None
            assert shell.balance() == 10**9 - CENT
            await said(socket, "a", "b", "c")
        assert await _units(shell, meter) == units
        assert await shell.settled() == 10**9 - units * CENT


async def _units(shell: Shell, meter: str) -> int:
    return sum(row["units"] for row in await shell.rows() if row["meter"] == meter)


async def test_messages_are_held_in_stretches(tmp_path: Path) -> None:
    """Ten at once, as the route says; what was held and not used comes back."""
    async with metered(app(), tmp_path, RULES) as shell:
        async with shell.websocket("/ten") as socket:
            await socket.accepted()
            assert shell.balance() == 10**9 - 10 * CENT
            await said(socket, *"abcdefghijk")
            assert shell.balance() == 10**9 - 20 * CENT
        assert await _units(shell, "messages") == 11
        assert await shell.settled() == 10**9 - 11 * CENT


@pytest.mark.parametrize(("path", "units"), [("/down", 6), ("/traffic", 12)])
async def test_the_bytes_of_messages_are_counted(tmp_path: Path, path: str, units: int) -> None:
    """Those that the meter counts: here what the app sends, there what goes either way."""
    async with metered(app(), tmp_path, RULES) as shell:
        async with shell.websocket(path) as socket:
            await socket.accepted()
            await said(socket, "ä", "", "abcd")
        assert await _units(shell, path[1:]) == units
        assert await shell.settled() == 10**9 - units * CENT


async def test_bytes_that_nobody_can_pay_are_not_sent(tmp_path: Path) -> None:
    """Nor charged: the socket closes before the message that does not fit."""

    async def talking(socket: Socket) -> None:
        await socket.accept()
        while True:
            await socket.send_bytes(b"1234")

    async with metered(app(talking), tmp_path, RULES) as shell:
        key = await shell.customer("poor", "0.10")
        async with shell.websocket("/down", key) as socket:
            await socket.accepted()
            assert [await socket.receive() for _ in range(3)] == [b"1234", b"1234", None]
            assert socket.close_code == 4402
            await socket.ended()
        assert sum(row["units"] for row in await shell.rows("poor")) == 8
        assert await shell.settled("poor") == 2 * CENT


@pytest.mark.parametrize("path", ["/rows", "/tokens"])
async def test_a_meter_that_reads_answers_serves_no_socket(tmp_path: Path, path: str) -> None:
    """A socket has no answer to read, so it is refused; only shadow mode lets it pass."""
    async with metered(app(), tmp_path / "one", RULES) as shell, shell.websocket(path) as socket:
        answer = await socket.accepted()
        assert answer is not None and answer.status == 403
        assert answer.json()["reason"] == "route_not_in_policy"
    async with metered(app(), tmp_path / "two", {**RULES, "shadow": True}) as shell:
        async with shell.websocket(path) as socket:
            assert await socket.accepted() is None
            await said(socket, "a")
        assert await shell.rows() == []


@pytest.mark.parametrize(("path", "messages"), [("/messages", 90), ("/traffic", 40)])
async def test_a_long_socket_takes_few_holds(tmp_path: Path, path: str, messages: int) -> None:
    """Two are open at most, each twice as long as the one before; it pays for exactly what passed."""
    async with metered(app(), tmp_path, RULES) as shell:
        (gate,) = shell.engine.foundation.gates
        opened: set[str] = set()
        async with shell.websocket(path) as socket:
            await socket.accepted()
            for _ in range(messages):
                await said(socket, "a")
                opened |= set(gate.live)
                assert len(gate.live) <= 2
        units = messages if path == "/messages" else 2 * messages
        assert len(opened) < 15
        assert await _units(shell, path[1:]) == units
        assert await shell.settled() == 10**9 - units * CENT


async def test_a_socket_closes_when_the_money_is_out(tmp_path: Path) -> None:
    """With 4402, after exactly the messages that were paid; the app sees a client that leaves."""
    async with metered(app(), tmp_path, RULES) as shell:
        key = await shell.customer("poor", "0.03")
        async with shell.websocket("/messages", key) as socket:
            await socket.accepted()
            await said(socket, "a", "b", "c")
            socket.send("d")
            assert await socket.receive() is None
            assert socket.close_code == 4402
            await socket.ended()
        assert sum(row["units"] for row in await shell.rows("poor")) == 3
        assert await shell.settled("poor") == 0


async def pushing(socket: Socket) -> None:
    """Never listens; sends until somebody stops it."""
    await socket.accept()
    while True:
        await socket.send_text("tick")
        await asyncio.sleep(0.01)


async def test_a_socket_is_paid_by_the_second_also_when_only_the_app_talks(tmp_path: Path) -> None:
    """Two cents are two seconds; then it is closed, and an app that goes on sending is stopped."""
    async with metered(app(pushing), tmp_path, RULES) as shell:
        key = await shell.customer("poor", "0.02")
        began = asyncio.get_running_loop().time()
        async with shell.websocket("/seconds", key) as socket:
            await socket.accepted()
            while await socket.receive() is not None:
                pass
            assert socket.close_code == 4402
            await asyncio.wait_for(socket.ended(), 5)
        assert 1.9 < asyncio.get_running_loop().time() - began < 4
        assert sum(row["units"] for row in await shell.rows("poor")) == 2


async def test_a_long_socket_uses_the_money_to_its_last_message(tmp_path: Path) -> None:
    """When a long stretch does not fit any more, shorter ones still do."""
    async with metered(app(), tmp_path, RULES) as shell:
        async with shell.websocket("/messages") as socket:
            await socket.accepted()
            await said(socket, *["a"] * 100)
            socket.send("b")
            assert await socket.receive() is None
            assert socket.close_code == 4402
        assert await _units(shell, "messages") == 100
        assert await shell.settled() == 0


async def test_a_socket_that_is_not_accepted_costs_nothing(tmp_path: Path) -> None:
    async with metered(app(turned_down), tmp_path, RULES) as shell:
        async with shell.websocket("/messages") as socket:
            answer = await socket.accepted()
            assert answer is not None
        assert await shell.rows() == []
        assert await shell.settled() == 10**9


@pytest.mark.parametrize(
    ("path", "key", "status", "reason", "code"),
    [
        ("/messages", "", 401, "key_missing", 1008),
        ("/messages", "poor", 402, "insufficient_credits", 4402),
        ("/elsewhere", None, 403, "route_not_in_policy", 1008),
        ("/a//b", None, 400, "bad_request", 1008),
    ],
)
@pytest.mark.parametrize("extension", [True, False])
async def test_a_handshake_is_refused_with_the_whole_answer_where_that_is_possible(
    tmp_path: Path, path: str, key: str | None, status: int, reason: str, code: int, extension: bool
) -> None:
    """A server without the extension closes, with a code and the reason."""
    async with metered(app(), tmp_path, RULES) as shell:
        poor = await shell.customer("poor", "")
        socket = shell.websocket(path, poor if key == "poor" else key)
        if not extension:
            socket.scope["extensions"] = {}
        async with socket:
            answer = await socket.accepted()
            assert answer is not None
            if extension:
                assert answer.status == status
                assert answer.json()["reason"] == reason
                assert answer.header("metergate-request-id")
            else:
                assert socket.close_code == code


async def greedy(socket: Socket) -> None:
    await current.charge("images", 99)
    await socket.accept()


async def test_a_charge_that_does_not_fit_refuses_the_handshake_in_the_shape_of_the_caller(
    tmp_path: Path,
) -> None:
    async with metered(app(greedy), tmp_path, RULES) as shell:
        socket = shell.websocket("/call")
        socket.scope["headers"] = [*socket.scope["headers"], (b"anthropic-version", b"2023-06-01")]
        async with socket:
            answer = await socket.accepted()
            assert answer is not None and answer.status == 402
            assert answer.json()["error"]["type"] == "billing_error"


@pytest.mark.parametrize("path", ["/free", "/public"])
async def test_free_sockets_cost_nothing(tmp_path: Path, path: str) -> None:
    async with metered(app(), tmp_path, RULES) as shell:
        async with shell.websocket(path, "" if path == "/public" else None) as socket:
            assert await socket.accepted() is None
            await said(socket, "a")
        assert await shell.rows() == []


@pytest.mark.parametrize("path", ["/call", "/free"])
async def test_what_the_app_charges_inside_a_socket(tmp_path: Path, path: str) -> None:
    """A charge that does not fit, and that the app lets through, closes the socket with 4402."""
    async with metered(app(charging), tmp_path, RULES) as shell:
        async with shell.websocket(path) as socket:
            assert await socket.accepted() is None
            socket.send("2")
            assert await socket.receive() == "acct"
            socket.send("99")
            assert await socket.receive() is None
            assert socket.close_code == 4402
            await socket.ended()
        assert await _units(shell, "images") == 2


async def test_a_revoked_key_ends_its_socket_at_the_next_stretch(tmp_path: Path) -> None:
    async with metered(app(), tmp_path, RULES) as shell:
        async with shell.websocket("/messages") as socket:
            await socket.accepted()
            await said(socket, "a")
            await shell.engine.office.keys.revoke(shell.key[8:18])
            socket.send("b")
            assert await socket.receive() is None
            assert socket.close_code == 1008
        assert await _units(shell, "messages") == 1


async def test_a_client_that_vanishes_pays_for_what_it_used(tmp_path: Path) -> None:
    async with metered(app(), tmp_path, RULES) as shell:
        async with shell.websocket("/ten") as socket:
            await socket.accepted()
            await said(socket, "a", "b")
            socket.disconnect(1006)
            await socket.ended()
        assert await shell.settled() == 10**9 - 2 * CENT


async def test_an_app_that_raises_in_a_socket_is_paid_for_what_was_used(tmp_path: Path) -> None:
    async def failing(socket: Socket) -> None:
        await socket.accept()
        await socket.receive_text()
        raise ZeroDivisionError

    async with metered(app(failing), tmp_path, RULES) as shell:
        with pytest.raises(ZeroDivisionError):
            await _one_message(shell)
        assert await _units(shell, "messages") == 1


async def _one_message(shell: Shell) -> None:
    async with shell.websocket("/messages") as socket:
        await socket.accepted()
        socket.send("a")
        await socket.ended()


async def test_a_socket_in_shadow_mode_stays_open(tmp_path: Path) -> None:
    async with metered(app(), tmp_path, {**RULES, "shadow": True}) as shell:
        key = await shell.customer("poor", "0.01")
        async with shell.websocket("/messages", key) as socket:
            assert await socket.accepted() is None
            await said(socket, "a", "b", "c")
        async with shell.websocket("/elsewhere", "") as socket:
            assert await socket.accepted() is None
            await said(socket, "a")
        assert [row["cost"]["nanos"] for row in await shell.rows("poor")].count(CENT) == 1


async def test_the_seconds_are_those_of_the_clock(tmp_path: Path) -> None:
    clock = FakeClock()
    async with metered(app(), tmp_path, RULES, clock=clock) as shell:
        async with shell.websocket("/seconds") as socket:
            await socket.accepted()
            clock.advance(seconds=4.2)
            await said(socket, "a")
        assert await _units(shell, "seconds") == 5


async def test_messages_that_are_no_sockets_own_pass(tmp_path: Path) -> None:
    """An unknown kind of scope is the app's affair."""
    seen: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing() -> Message:
        return {}

    async def nowhere(message: Message) -> None:
        return None

    async with metered(other, tmp_path, RULES) as shell:
        wrapped: App = shell.app
        await wrapped({"type": "something.new"}, nothing, nowhere)
    assert seen == ["something.new"]
