"""Starting and stopping: with the app's lifespan, in its place, and without any."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from metergate import MeterGate
from metergate.asgi.types import ASGIApp
from metergate.config.settings import Settings
from metergate.testing.asgi import Message, Receive, Scope, Send, fetch, lifespan
from tests.shell import CENT, hello, policy, problem


def gate(app: ASGIApp, folder: Path, **changes: Any) -> MeterGate:
    return MeterGate(app, policy(**changes), settings=Settings(data=folder / "data"))


async def test_the_gate_is_ready_before_the_app_begins_and_stops_after_it(tmp_path: Path) -> None:
    """A start-up may already use the office, a shutdown still."""
    seen: list[str] = []

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[dict[str, str]]:
        await door.engine.office.accounts.create("acct")
        yield {"made": "by the app"}
        seen.append(str((await door.engine.office.do("accounts.show", {"id": "acct"}))["id"]))

    door = gate(Starlette(lifespan=life), tmp_path)
    async with lifespan(door) as scope:
        assert scope["state"]["made"] == "by the app"
    assert seen == ["acct"]
    assert door.engine.serving is None


async def test_what_was_called_is_in_the_ledger_when_the_lifespan_ends(tmp_path: Path) -> None:
    door = gate(hello, tmp_path)
    async with lifespan(door):
        office = door.engine.office
        await office.accounts.create("acct")
        await office.credits.grant("acct", "1.00")
        key = (await office.keys.create("acct"))["key"]
        assert (await fetch(door, "GET", "/x", headers={"x-api-key": key})).status == 200
    with closing(sqlite3.connect(tmp_path / "data" / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT count(*), sum(cost) FROM usage").fetchall() == [(1, CENT)]


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


async def returning(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await hello(scope, receive, send)


async def beginning(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns as soon as it has begun."""
    await receive()
    await send({"type": "lifespan.startup.complete"})


@pytest.mark.parametrize("app", [refusing, returning, answering, beginning, hello])
async def test_an_app_without_a_lifespan_has_that_of_the_gate(tmp_path: Path, app: ASGIApp) -> None:
    """Whatever a raw app does with a scope that it does not know."""
    door = gate(app, tmp_path)
    async with lifespan(door):
        assert door.engine.serving is not None
    assert door.engine.serving is None


async def test_a_server_that_never_runs_the_lifespan(tmp_path: Path) -> None:
    """The first request starts the gate, and the first of several at once as well."""
    door = gate(hello, tmp_path)
    answers = await asyncio.gather(*[fetch(door, "GET", "/x") for _ in range(5)])
    assert {answer.status for answer in answers} == {401}
    async with lifespan(door):
        assert (await fetch(door, "GET", "/x")).status == 401
    assert door.engine.serving is None


async def messages(app: ASGIApp) -> list[Message]:
    sent: list[Message] = []
    coming: list[Message] = [{"type": "lifespan.startup"}]

    async def receive() -> Message:
        return coming.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return sent


@pytest.mark.parametrize("app", [hello, FastAPI()])
async def test_a_start_that_cannot_be_is_told_once_in_one_sentence(tmp_path: Path, app: ASGIApp) -> None:
    """The sentence, not the trace of the framework that met it."""
    async with lifespan(gate(hello, tmp_path)):
        stranger = gate(app, tmp_path, store="foo://somewhere")
        try:
            sent = await messages(stranger)
        except Exception as error:
            raise AssertionError("The server hears it as a message.") from error
        (failed,) = sent
        assert failed["type"] == "lifespan.startup.failed"
        assert "metergate_foo" in failed["message"]
        assert "\n" not in failed["message"]
        assert stranger.engine.serving is None


async def test_a_gate_that_cannot_start_refuses_and_tries_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """503 for metered calls as long as the reason lasts, then it serves; the reason is for the operator."""
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be")
    door = gate(hello, tmp_path)
    answer = await fetch(door, "GET", "/x")
    assert answer.status == 503
    told = problem(answer, "store_unavailable")
    assert answer.header("retry-after") == "5"
    assert "METERGATE_DATA" not in told["detail"]
    assert "METERGATE_DATA" in caplog.text
    folder.unlink()
    assert (await fetch(door, "GET", "/x")).status == 401
    await door.engine.stop()


async def test_an_app_that_fails_to_start_stops_the_gate(tmp_path: Path) -> None:
    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        raise ZeroDivisionError
        yield

    door = gate(Starlette(lifespan=life), tmp_path)
    sent = await messages(door)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert door.engine.serving is None


async def test_an_app_that_fails_to_stop_stops_the_gate_all_the_same(tmp_path: Path) -> None:
    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        yield
        raise ZeroDivisionError

    door = gate(Starlette(lifespan=life), tmp_path)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        await _through(door)
    assert door.engine.serving is None
    async with lifespan(gate(hello, tmp_path)):
        """The folder is free again."""


async def crashing(scope: Scope, receive: Receive, send: Send) -> None:
    """Begins well, and raises where it should say goodbye."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise ZeroDivisionError


async def test_an_app_that_crashes_in_its_shutdown_stops_the_gate_too(tmp_path: Path) -> None:
    door = gate(crashing, tmp_path)
    with pytest.raises(ZeroDivisionError):
        await _through(door)
    assert door.engine.serving is None


async def _through(door: MeterGate) -> None:
    async with lifespan(door):
        assert door.engine.serving is not None
