"""A metered app whose customers pay through a provider: what the stories of every adapter have in common."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from metergate import MeterGate
from metergate.api import admin_app
from metergate.asgi.types import Receive, Scope, Send
from metergate.config.settings import Settings
from metergate.testing.asgi import lifespan
from tests.api.client import TOKEN, Client
from tests.billing.bench import POLICY


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Service:
    def __init__(self, app: MeterGate, provider: str) -> None:
        self.app = app
        self.provider = provider
        self.operator = Client(admin_app(app.engine.office.acting_as("admin"), TOKEN), TOKEN)

    async def customer(self, account: str = "ada") -> Client:
        await self.operator.ok("POST", "/admin/v1/accounts", {"id": account})
        made = await self.operator.ok("POST", "/admin/v1/keys", {"account": account})
        return Client(self.app, made["key"])

    async def tell(self, headers: Mapping[str, str], body: bytes) -> int:
        """A webhook arrives; the status that its sender sees."""
        path = f"/billing/v1/webhooks/{self.provider}"
        return (await Client(self.app, "")("POST", path, raw=body, headers=headers)).status

    async def handled(self) -> None:
        """Wait until the worker has nothing left to handle."""
        async with asyncio.timeout(30):
            while (await self.operator.ok("GET", "/admin/v1/webhooks?state=waiting"))["data"]:
                self.app.engine.money.told()
                await asyncio.sleep(0.01)


@asynccontextmanager
async def a_service(folder: Path, provider: str, environ: Mapping[str, str]) -> AsyncIterator[Service]:
    settings = Settings(
        data=folder / "data",
        frontend_url="https://app.example.com",
        public_url="https://pay.example.com",
        environ=dict(environ),
    )
    app = MeterGate(hello, {**POLICY, "provider": provider}, settings=settings)
    async with lifespan(app):
        yield Service(app, provider)
