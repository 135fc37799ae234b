"""A metered app whose customers pay through a provider: what the stories of every adapter have in common."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from metergate import MeterGate
from metergate.config.settings import Settings
from metergate.testing.asgi import Answer, fetch, lifespan
from tests.billing.bench import POLICY
from tests.billing.shop import Shop, hello
from tests.waiting import until


class Service(Shop):
    def __init__(self, app: MeterGate, provider: str) -> None:
        super().__init__(app)
        self.provider = provider

    async def tell(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """A webhook arrives; the answer that its sender sees."""
        path = f"/billing/v1/webhooks/{self.provider}"
        return await fetch(self.app, "POST", path, headers=headers or {}, body=body)

    async def handled(self) -> None:
        """Wait until the worker has nothing left to handle."""

        async def idle() -> bool:
            self.app.engine.money.told()
            return not (await self.operator.ok("GET", "/admin/v1/webhooks?state=waiting"))["data"]

        await until(idle)


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
