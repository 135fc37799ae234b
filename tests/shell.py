"""A metered app at work: a real MeterGate over a real data folder, and what its operator can see."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from metergate import MeterGate
from metergate.asgi.middleware import Metered
from metergate.asgi.types import ASGIApp
from metergate.config import PolicySource
from metergate.config.settings import Settings
from metergate.engine import Engine
from metergate.ports import AskBudget, Clock
from metergate.testing.asgi import Answer, HeaderPairs, Receive, Request, Scope, Send, WebSocket, fetch

CENT = 10_000_000
"""Nanos."""

PLAIN: Mapping[str, Any] = {
    "metergate": 1,
    "meters": {"requests": {"count": "calls"}, "images": {"count": "app"}},
    "prices": {"requests": {"price": "0.01"}, "images": {"price": "0.10"}},
    "routes": [
        {"match": "GET /public", "public": True},
        {"match": "* /free/**", "free": True},
        {"match": "* /**", "meter": "requests"},
    ],
}


def policy(**changes: Any) -> dict[str, Any]:
    """The plain policy with other parts."""
    return {**PLAIN, **changes}


def written(folder: Path, content: object) -> Path:
    """A policy file; JSON is YAML."""
    path = folder / "policy.yaml"
    path.write_text(json.dumps(content))
    return path


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """The smallest app."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Shell:
    """The app behind its gate, one account with a key, and the operator's office."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app = app
        self.engine = engine
        self.key = ""

    async def customer(
        self, account: str = "acct", credits: str = "1.00", plan: str | None = None, **key: Any
    ) -> str:
        """A new account with credits; its key."""
        office = self.engine.office
        await office.accounts.create(account, plan=plan)
        if credits:
            await office.credits.grant(account, credits)
        return str((await office.keys.create(account, **key))["key"])

    async def fetch(
        self, method: str, target: str, body: bytes = b"", key: str | None = None, **headers: str
    ) -> Answer:
        """One request with the customer's key (or another one; empty sends none)."""
        return await fetch(self.app, method, target, headers=self.headers(key, **headers), body=body)

    def request(
        self, method: str, target: str, body: bytes | None = b"", key: str | None = None, **headers: str
    ) -> Request:
        """The same, message by message."""
        return Request(self.app, method, target, headers=self.headers(key, **headers), body=body)

    def websocket(self, target: str, key: str | None = None) -> WebSocket:
        return WebSocket(self.app, target, headers=self.headers(key))

    def headers(self, key: str | None = None, **more: str) -> HeaderPairs:
        shown = self.key if key is None else key
        found = {"authorization": f"Bearer {shown}"} if shown else {}
        return found | {name.replace("_", "-"): value for name, value in more.items()}

    def balance(self, account: str = "acct") -> int:
        """Spendable nanos, as the counters have it at this moment."""
        told = self.engine.foundation.store.state((AskBudget(f"credits:{account}"),))
        assert isinstance(told, Sequence) and isinstance(told[0], int)
        return told[0]

    async def settled(self, account: str = "acct") -> int:
        """Spendable nanos, once every call that ended has been told to the counters."""
        for gate in self.engine.foundation.gates:
            await gate.endings.done()
        return self.balance(account)

    async def rows(self, account: str = "acct") -> list[dict[str, Any]]:
        """The account's usage in the ledger, oldest first."""
        await self.settled(account)
        told = await self.engine.office.do("usage.list", {"account": account, "limit": 1000})
        return sorted(told["data"], key=lambda row: (row["at"], row["id"]))

    async def summary(self, account: str = "acct") -> list[tuple[str, int, str]]:
        """Meter, units and kind of every row."""
        return [(row["meter"], row["units"], row["measured"]) for row in await self.rows(account)]

    async def prove(self) -> None:
        """The ledger agrees with itself, and with the counters about every account."""
        office = self.engine.office
        for gate in self.engine.foundation.gates:
            await gate.endings.done()
        told = await office.do("verify", {})
        assert told["differences"] == []
        for account in (await office.do("accounts.list", {"limit": 1000}))["data"]:
            credits = await office.do("credits.show", {"account": account["id"]})
            spendable = credits["balance"]["nanos"]
            held = credits["held"]["nanos"]
            assert self.balance(account["id"]) == spendable - held


@asynccontextmanager
async def metered(
    app: ASGIApp,
    folder: Path,
    source: PolicySource = PLAIN,
    *,
    clock: Clock | None = None,
    customer: bool = True,
    **settings: Any,
) -> AsyncIterator[Shell]:
    """The app behind a gate that has been started; at the end the ledger must prove itself."""
    given = Settings(data=folder / "data", **settings)
    door: Metered = (
        MeterGate(app, source, settings=given) if clock is None else _timed(app, source, given, clock)
    )
    engine = door._engine
    assert isinstance(engine, Engine)
    await engine.start()
    shell = Shell(door, engine)
    try:
        if customer:
            shell.key = await shell.customer()
        yield shell
        await shell.prove()
    finally:
        await engine.stop()


def _timed(app: ASGIApp, source: PolicySource, settings: Settings, clock: Clock) -> Metered:
    return Metered(app, Engine(source, settings, clock))


def problem(answer: Answer, reason: str) -> dict[str, Any]:
    """The one body of every refusal, read by each of its readers."""
    told: dict[str, Any] = answer.json()
    assert told["reason"] == reason, told
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-length") == str(len(answer.body))
    assert told["status"] == answer.status
    assert told["request_id"]
    assert answer.header("metergate-request-id") == told["request_id"]
    assert told["title"]
    assert told["error"]["message"] == told["detail"]
    assert told["error"]["code"] == reason
    assert told["error"]["param"] is None
    return told
