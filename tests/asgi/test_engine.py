"""Engines: beginning with a mistake, sharing a folder, and serving those who show no key."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metergate import ConfigurationError, Gate, InvalidInput, MeterGate, current
from metergate.admin import RemoteOffice
from metergate.asgi.types import Receive, Scope, Send
from metergate.config.settings import Settings
from metergate.testing.asgi import fetch
from tests.shell import PLAIN, hello, metered, policy, problem


async def teller(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that asks who calls, and charges."""
    await current.charge("images", 1)
    told = f"{current.account}|{current.key}|{current.plan}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": told})


async def lifespan(app: MeterGate) -> list[dict[str, Any]]:
    """What a server hears when it starts the app."""
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        said.append(dict(message))

    await app({"type": "lifespan"}, receive, send)
    return said


@pytest.mark.parametrize("source", ["/no/such/policy.yaml", {"metergate": 1, "metres": {}}, ""])
async def test_a_policy_with_a_mistake_fails_the_start_with_its_sentence(source: Any, tmp_path: Path) -> None:
    """Frameworks build middleware when lifespan begins; a server must not think that there is none."""
    door = MeterGate(hello, source, settings=Settings(data=tmp_path / "data"))
    [told] = await lifespan(door)
    assert told["type"] == "lifespan.startup.failed"
    assert "policy" in told["message"] or "metres" in told["message"]


async def test_a_policy_that_was_mended_is_served(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    door = MeterGate(hello, file, settings=Settings(data=tmp_path / "data"))
    assert (await fetch(door, "GET", "/public")).status == 503
    file.write_text('metergate: 1\nroutes: [{match: "* /**", public: true}]\n')
    assert (await fetch(door, "GET", "/public")).status == 200
    await door.engine.stop()


async def test_in_shadow_mode_an_app_may_ask_who_calls_when_nobody_says(tmp_path: Path) -> None:
    async with metered(teller, tmp_path, policy(shadow=True)) as shell:
        answer = await shell.fetch("GET", "/x", key="")
        assert (answer.status, answer.body) == (200, b"||")


async def test_on_a_public_route_nobody_can_be_charged(tmp_path: Path) -> None:
    async with metered(teller, tmp_path) as shell:
        with pytest.raises(Exception, match="Nobody can be charged"):
            await shell.fetch("GET", "/public", key="")


async def test_a_refusal_has_the_request_id_that_tail_shows(tmp_path: Path) -> None:
    async with metered(hello, tmp_path, customer=False) as shell:
        shell.key = await shell.customer(credits="0.01")
        heard: list[str] = []
        shell.engine.watch.watchers.append(lambda decision: heard.append(decision.request_id))
        assert (await shell.fetch("GET", "/x")).status == 200
        told = problem(await shell.fetch("GET", "/x"), "insufficient_credits")
        assert heard[-1] == told["request_id"]


async def test_when_the_engine_with_the_socket_stops_another_answers_for_the_folder(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    remote = RemoteOffice(tmp_path / "data")
    async with Gate.open(PLAIN, settings=settings) as staying:
        leaving = Gate.open(policy(service="second"), settings=settings)
        await leaving.__aenter__()
        assert staying.engine.foundation.engines[0] is staying.engine
        await leaving.__aexit__(None, None, None)
        assert (await remote.do("policy.show", {}))["service"] == ""
    async with Gate.open(policy(service="first"), settings=settings) as first:
        async with Gate.open(policy(service="second"), settings=settings):
            await first.engine.stop()
            assert (await remote.do("policy.show", {}))["service"] == "second"
        assert not await remote.is_there()


async def test_a_reload_reaches_every_engine_of_the_folder_or_none(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    text = 'metergate: 1\nservice: {}\nroutes: [{{match: "* /**", public: true}}]\n'
    one.write_text(text.format("old"))
    two.write_text(text.format("old"))
    settings = Settings(data=tmp_path / "data")
    async with Gate.open(one, settings=settings) as first, Gate.open(two, settings=settings) as second:
        one.write_text(text.format("new"))
        two.write_text("metergate: 2\n")
        with pytest.raises(ConfigurationError, match=r"two\.yaml"):
            await RemoteOffice(tmp_path / "data").do("policy.reload", {})
        assert (first.engine.gate.policy.service, second.engine.gate.policy.service) == ("old", "old")
        two.write_text(text.format("new"))
        await RemoteOffice(tmp_path / "data").do("policy.reload", {})
        assert (first.engine.gate.policy.service, second.engine.gate.policy.service) == ("new", "new")


async def test_a_question_about_an_account_that_nobody_knows_makes_none(tmp_path: Path) -> None:
    async with Gate.open(PLAIN, settings=Settings(data=tmp_path / "data")) as gate:
        with pytest.raises(InvalidInput, match="typo"):
            await gate.balance("typo")
        assert (await gate.office.accounts.page())["data"] == []


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector as Python starts with it."""
    before = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collector")
async def test_what_is_loaded_before_the_first_call_is_set_aside_from_collections(tmp_path: Path) -> None:
    """And calls that wait together are not looked through in the hope that one of them is garbage."""
    async with metered(hello, tmp_path) as shell:
        await shell.fetch("GET", "/x")
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() == (10_000, 10, 10)


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("arranged", [0, 50_000])
async def test_a_collector_that_its_owner_has_slowed_down_stays_so(tmp_path: Path, arranged: int) -> None:
    gc.set_threshold(arranged)
    async with metered(hello, tmp_path) as shell:
        await shell.fetch("GET", "/x")
        assert gc.get_threshold()[0] == arranged


async def test_what_a_free_route_charged_goes_with_its_500(tmp_path: Path) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await current.charge("images", 1)
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with metered(fails, tmp_path) as shell:
        assert (await shell.fetch("GET", "/free/x")).status == 500
        assert await shell.settled() == 1_000_000_000
