"""A front that asks for decisions about calls that it serves itself."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from metergate import bootstrap
from metergate.api import admin_app
from metergate.config import PolicySource
from metergate.ports import Clock
from metergate.testing.asgi import Answer, App, fetch
from tests.shell import PLAIN, Shell, hello, metered

AUTHZ = "the front's token"
ADMIN = "the operator's token"

Json = dict[str, Any]


class Front:
    def __init__(self, app: App, key: str, token: str = AUTHZ) -> None:
        self.app = app
        self.key = key
        self.token = token

    async def ask(self, verb: str, body: object, **headers: str) -> Answer:
        """One question to `/authz/v1/`."""
        found = {"metergate-token": self.token, "content-type": "application/json"}
        found |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await fetch(
            self.app, "POST", f"/authz/v1/{verb}", headers=found, body=json.dumps(body).encode()
        )

    async def hold(self, method: str = "GET", path: str = "/x", **more: object) -> Json:
        return await self._ok("hold", {"key": self.key, "method": method, "path": path, **more})

    async def settle(self, hold: str, **more: object) -> Json:
        return await self._ok("settle", {"hold": hold, **more})

    async def release(self, hold: str) -> Json:
        return await self._ok("release", {"hold": hold})

    async def refused(self, verb: str, **body: object) -> tuple[int, str]:
        """Status and reason of what goes wrong."""
        if verb == "hold":
            body = {"key": self.key, "method": "GET", "path": "/x", **body}
        answer = await self.ask(verb, {name: value for name, value in body.items() if value is not None})
        told = answer.json()
        assert answer.header("content-type") == "application/problem+json"
        assert answer.header("cache-control") == "no-store"
        assert told["status"] == answer.status
        return answer.status, told["reason"]

    async def _ok(self, verb: str, body: Json) -> Json:
        answer = await self.ask(verb, body)
        assert answer.status == 200, answer.body
        assert answer.header("cache-control") == "no-store"
        told: Json = answer.json()
        return told

    async def forward(
        self,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
        method: str = "GET",
        behind: str = "",
        body: bytes = b"",
    ) -> Answer:
        """One question to `/authz/v1/forward`, with the headers that the front sends."""
        named = headers.items() if isinstance(headers, Mapping) else headers
        pairs = [*named, ("metergate-token", self.token)]
        return await fetch(self.app, method, f"/authz/v1/forward{behind}", headers=pairs, body=body)


@asynccontextmanager
async def fronted(
    folder: Path, source: PolicySource = PLAIN, *, clock: Clock | None = None, customer: bool = True
) -> AsyncIterator[tuple[Front, Shell]]:
    """A gate at work, the admin side beside it, and a front; at the end the ledger must prove itself."""
    tokens = {"authz_token": AUTHZ, "admin_token": ADMIN}
    async with metered(hello, folder, source, clock=clock, customer=customer, **tokens) as shell:
        app = bootstrap.admin_app(source, settings=shell.engine.settings)
        yield Front(app, shell.key), shell


def relayed(shell: Shell, front: Front) -> Front:
    """The same front at an admin side that asks over the socket in the data folder."""
    from metergate.admin import RemoteOffice

    remote = RemoteOffice(shell.engine.foundation.folder.path)
    return Front(admin_app(remote, ADMIN, authz_token=AUTHZ), front.key)
