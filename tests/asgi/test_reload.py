"""A policy that changes while calls run, and one that only looks on."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metergate import ConfigurationError, MeterGate
from metergate.config.settings import Settings
from metergate.testing.asgi import Receive, Scope, Send, fetch, lifespan
from tests.shell import CENT, Shell, hello, metered, policy, problem, written

DEAR = policy(prices={"requests": {"price": "0.50"}, "images": {"price": "1"}})
BROKEN = policy(routes=[{"match": "nonsense"}])


async def price(shell: Shell) -> str | None:
    answer = await shell.fetch("GET", "/x")
    assert answer.status == 200
    return answer.header("metergate-cost")


async def test_a_good_file_is_taken_over_by_the_next_call(tmp_path: Path) -> None:
    """And every row says by which policy it was made."""
    file = written(tmp_path, policy())
    async with metered(hello, tmp_path, file) as shell:
        assert await price(shell) == "0.01"
        written(tmp_path, DEAR)
        assert await price(shell) == "0.01"
        await shell.engine.office.do("policy.reload", {})
        assert await price(shell) == "0.50"
        rows = await shell.rows()
        assert [row["cost"]["nanos"] for row in rows] == [CENT, CENT, 50 * CENT]
        assert rows[0]["policy"] == rows[1]["policy"] != rows[2]["policy"]


async def test_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, policy())
    async with metered(hello, tmp_path, file) as shell:
        written(tmp_path, BROKEN)
        with pytest.raises(ConfigurationError, match=r"policy\.yaml"):
            await shell.engine.office.do("policy.reload", {})
        assert await price(shell) == "0.01"
        file.unlink()
        with pytest.raises(ConfigurationError):
            shell.engine.reload()
        assert await price(shell) == "0.01"


async def test_the_places_of_keys_and_of_the_billing_change_with_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, policy())
    async with metered(hello, tmp_path, file) as shell:
        assert await price(shell) == "0.01"
        written(tmp_path, policy(key_headers=["x-my-key"], billing="/my/billing"))
        shell.engine.reload()
        problem(await shell.fetch("GET", "/x"), "key_missing")
        own = {"x-my-key": shell.key}
        assert (await fetch(shell.app, "GET", "/x", headers=own)).status == 200
        assert (await fetch(shell.app, "GET", "/my/billing/v1/credits", headers=own)).status == 200


class Slow:
    """Sends its last byte when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.go.wait()
        await send({"type": "http.response.body", "body": b"last"})


async def test_a_running_stream_ends_at_the_price_it_began_with(tmp_path: Path) -> None:
    """Also when the policy changes twice meanwhile."""
    file = written(tmp_path, policy())
    app = Slow()
    async with metered(app, tmp_path, file) as shell:
        async with shell.request("GET", "/x") as request:
            assert await request.chunk() == b"first"
            for content in (DEAR, policy(routes=[{"match": "GET /y", "public": True}])):
                written(tmp_path, content)
                shell.engine.reload()
            app.go.set()
            assert await request.read() == b"last"
        assert [row["cost"]["nanos"] for row in await shell.rows()] == [CENT]
        problem(await shell.fetch("GET", "/x"), "route_not_in_policy")


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  a signal sets no event of ours
            await asyncio.sleep(0)


async def test_a_hangup_reads_every_policy_of_the_process_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad one is a line in the log; when nobody listens any more the signal is what it was."""
    before = signal.getsignal(signal.SIGHUP)
    file = written(tmp_path, policy())
    settings = Settings(data=tmp_path / "shared")
    one, two = (MeterGate(hello, file, settings=settings) for _ in range(2))
    async with lifespan(one), lifespan(two):
        old = one.engine.policy.version
        written(tmp_path, DEAR)
        os.kill(os.getpid(), signal.SIGHUP)
        await reached(lambda: one.engine.policy.version == two.engine.policy.version != old)
        written(tmp_path, BROKEN)
        os.kill(os.getpid(), signal.SIGHUP)
        await reached(lambda: len(caplog.records) >= 2)
        assert all("the running one stays" in record.getMessage() for record in caplog.records)
        assert one.engine.policy.version != old
    assert signal.getsignal(signal.SIGHUP) is before


WANTED: list[tuple[dict[str, Any], str, str, int]] = [
    ({}, "GET", "/x", 401),
    ({"x-api-key": "nonsense"}, "GET", "/x", 401),
    ({"x-api-key": "poor"}, "GET", "/x", 402),
    ({"x-api-key": "poor"}, "GET", "/elsewhere", 403),
    ({"x-api-key": "poor"}, "GET", "/chat", 403),
    ({"x-api-key": "poor"}, "GET", "/a//b", 400),
]
RULES = policy(
    plans={"free": {}, "big": {"features": ["chat"]}},
    default_plan="free",
    routes=[
        {"match": "GET /x", "meter": "requests"},
        {"match": "GET /chat", "meter": "requests", "feature": "chat"},
    ],
)


@pytest.mark.parametrize(("headers", "method", "path", "status"), WANTED)
@pytest.mark.parametrize("shadow", [False, True])
async def test_shadow_mode_decides_and_refuses_nothing(
    tmp_path: Path, headers: dict[str, str], method: str, path: str, status: int, shadow: bool
) -> None:
    """What would have been refused is counted, and costs nothing."""
    async with metered(hello, tmp_path, {**RULES, "shadow": shadow}) as shell:
        poor = await shell.customer("poor", "")
        sent = {name: poor if value == "poor" else value for name, value in headers.items()}
        answer = await fetch(shell.app, method, path, headers=sent)
        assert answer.status == (200 if shadow else status)
        watch = shell.engine.watch
        assert [sum(each.values()) for each in (watch.refused, watch.shadowed)] == [not shadow, shadow]
        assert answer.header("metergate-request-id")
        assert await shell.settled("poor") == 0
        recorded = shadow and "poor" in headers.values() and path in ("/x", "/chat")
        assert await shell.summary("poor") == ([("requests", 0, "shadow")] if recorded else [])


async def test_one_route_may_look_on_while_the_others_decide(tmp_path: Path) -> None:
    routes = [
        {"match": "GET /x", "meter": "requests", "shadow": True},
        {"match": "* /**", "meter": "requests"},
    ]
    async with metered(hello, tmp_path, policy(routes=routes)) as shell:
        poor = await shell.customer("poor", "")
        assert (await shell.fetch("GET", "/x", key=poor)).status == 200
        assert (await shell.fetch("GET", "/x", key="")).status == 200
        problem(await shell.fetch("GET", "/y", key=poor), "insufficient_credits")
        assert (await shell.fetch("GET", "/x")).header("metergate-cost") == "0.01"
