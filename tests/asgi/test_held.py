"""What open calls may hold together, as their callers see it."""

import asyncio
from pathlib import Path
from typing import Any

from metergate.testing.asgi import Receive, Scope, Send
from tests.shell import CENT, metered, policy, problem
from tests.waiting import until


class Door:
    """An app that answers when it is told to."""

    def __init__(self) -> None:
        self.inside = 0
        self._open = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside += 1
        await self._open.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    def open(self) -> None:
        self._open.set()


BOUNDED = policy(concurrency=[{"calls": 50}, {"held": "0.035"}])
"""Calls cost a cent."""


async def test_of_many_calls_at_once_as_many_are_let_in_as_may_be_held(tmp_path: Path) -> None:
    async with metered(door := Door(), tmp_path, BOUNDED) as shell:
        calls = [asyncio.ensure_future(shell.fetch("GET", "/x")) for _ in range(40)]
        await until(lambda: door.inside + sum(call.done() for call in calls) == 40)
        assert door.inside == 3
        door.open()
        answers = await asyncio.gather(*calls)
        assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 37
        assert await shell.settled() == 97 * CENT
        assert (await shell.fetch("GET", "/x")).status == 200


async def test_the_refusal_says_what_is_held_of_how_much(tmp_path: Path) -> None:
    async with metered(door := Door(), tmp_path, BOUNDED) as shell:
        calls = [asyncio.ensure_future(shell.fetch("GET", "/x")) for _ in range(3)]
        await until(lambda: door.inside == 3)
        answer = await shell.fetch("GET", "/x")
        told = problem(answer, "too_many_open")
        assert told["detail"].startswith("Open calls of this account hold 0.03 of at most 0.035000 USD;")
        assert told["required"] == {"currency": "USD", "amount": "0.01", "nanos": CENT}
        assert told["available"] == {"currency": "USD", "amount": "0.005000", "nanos": CENT // 2}
        assert (answer.status, answer.header("retry-after")) == (429, "1")
        assert answer.header("x-ratelimit-limit-requests") is None
        door.open()
        await asyncio.gather(*calls)


async def test_who_asks_for_too_much_in_one_call_need_not_wait(tmp_path: Path) -> None:
    async with metered(Door(), tmp_path, policy(concurrency=[{"held": "0.005"}])) as shell:
        answer = await shell.fetch("GET", "/x")
        told = problem(answer, "too_many_open")
        assert told["detail"].startswith("This call alone would hold 0.01 USD")
        assert answer.header("retry-after") is None
        assert answer.header("x-should-retry") == "false"


async def test_a_plan_says_how_much_its_accounts_may_hold(tmp_path: Path) -> None:
    """Each of them, or all together; who looks at the plans sees it."""
    own: list[dict[str, Any]] = [{"held": "0.01"}, {"held": "0.02", "scope": "plan"}]
    plans = {"small": {"concurrency": own}, "free": {}}
    source = policy(plans=plans, default_plan="free")
    async with metered(door := Door(), tmp_path, source) as shell:
        keys = [await shell.customer(f"small-{n}", plan="small") for n in range(3)]
        calls = [asyncio.ensure_future(shell.fetch("GET", "/x", key=key)) for key in keys[:2]]
        await until(lambda: door.inside == 2)
        mine = problem(await shell.fetch("GET", "/x", key=keys[0]), "too_many_open")
        theirs = problem(await shell.fetch("GET", "/x", key=keys[2]), "too_many_open")
        assert (mine["scope"], theirs["scope"]) == ("account", "plan")
        door.open()
        await asyncio.gather(*calls)
        await shell.settled()
        assert (await shell.fetch("GET", "/x", key=keys[2])).status == 200
        listed = (await shell.fetch("GET", "/billing/v1/plans")).json()["data"]
        assert listed[0]["concurrency"] == [
            {"held": {"currency": "USD", "amount": "0.01", "nanos": CENT}, "scope": "account"},
            {"held": {"currency": "USD", "amount": "0.02", "nanos": 2 * CENT}, "scope": "plan"},
        ]
