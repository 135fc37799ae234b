"""A client of either API, for tests."""

import json
from collections.abc import Mapping
from typing import Any

from metergate.api import admin_app, billing_app
from metergate.asgi.request_headers import HeaderReader
from metergate.testing.asgi import Answer, App, fetch
from tests.admin.bench import Bench

TOKEN = "the operator's token"


class Client:
    def __init__(self, app: App, secret: str) -> None:
        self.app = app
        self.secret = secret

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        sent = json.dumps(body).encode() if body is not None else b""
        found = {"authorization": f"Bearer {self.secret}"} if self.secret else {}
        if body is not None or raw is not None:
            found["content-type"] = "application/json"
        found |= headers or {}
        found["content-length"] = str(len(sent if raw is None else raw))
        return await fetch(self.app, method, path, headers=found, body=sent if raw is None else raw)

    async def ok(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        answer = await self(method, path, body, **more)
        assert answer.status in (200, 201), answer.body
        assert answer.header("cache-control") == "no-store"
        return answer.json()


def operator(bench: Bench, token: str = TOKEN) -> Client:
    return Client(admin_app(bench.office.acting_as("admin"), TOKEN), token)


def customer(bench: Bench, key: str) -> Client:
    def keys(headers: Any, names: Any) -> tuple[str, ...]:
        return HeaderReader(names).read(headers).keys

    return Client(billing_app(bench.office, lambda: bench.gate, keys, "/billing"), key)


def problem(answer: Answer) -> dict[str, Any]:
    """A problem in the one form that every reader understands."""
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("cache-control") == "no-store"
    told: dict[str, Any] = answer.json()
    assert told["status"] == answer.status
    for name in ("type", "title", "detail", "reason"):
        assert isinstance(told[name], str)
        assert told[name]
    assert told["error"]["message"] == told["detail"]
    assert told["error"]["code"] == told["reason"]
    assert "Traceback" not in str(told)
    return told
