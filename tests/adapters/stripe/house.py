"""A metered app whose policy says `provider: stripe`, with a fake of Stripe beside it."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from metergate import MeterGate
from metergate.config.settings import Settings
from metergate.provider_port.http import ask
from metergate.testing.asgi import Answer, lifespan
from tests.adapters.shopping import Service
from tests.adapters.stripe.fake.server import FakeStripe
from tests.adapters.stripe.fake.store import Json
from tests.adapters.stripe.fake.whole import KEY, SECRET, a_fake
from tests.api.client import Client
from tests.billing.bench import POLICY
from tests.billing.shop import hello

HOOK = "/billing/v1/webhooks/stripe"
VISA, DECLINED, ASKED, LATER = "4242424242424242", "4000000000000002", "4000002500003155", "later"


class House(Service):
    def __init__(self, app: MeterGate, stripe: FakeStripe) -> None:
        super().__init__(app, "stripe")
        self.stripe = stripe

    async def buys(self, client: Client, card: str = VISA, **wanted: object) -> Json:
        """A page is opened, and somebody is on it with a card."""
        bought: Json = await client.ok("POST", "/billing/v1/checkout", wanted)
        await self.pays(bought, card)
        return bought

    async def pays(self, bought: Json, card: str = VISA) -> int:
        return (await ask("POST", bought["url"], body=f"card={card}".encode())).status

    async def confirms(self, url: str) -> None:
        """The payer says yes at the bank."""
        assert (await ask("POST", url)).status == 200

    async def tell(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return await super().tell(body, self.stripe.signed(body) if headers is None else headers)

    async def told(self, events: list[Json] | None = None) -> None:
        """Deliver these events, or all there are, and wait until each is handled."""
        for event in self.stripe.store.events if events is None else events:
            answer = await self.tell(self.stripe.body(event))
            assert answer.status == 200, answer.body
            event["undelivered"] = False
        await self.handled()

    async def credits(self, client: Client) -> str:
        told: str = (await client.ok("GET", "/billing/v1/credits"))["balance"]["amount"]
        return told

    async def payment(self, bought: Json) -> Json:
        """As the ledger has it, without asking Stripe."""
        listed = (await self.operator.ok("GET", "/admin/v1/payments"))["data"]
        return next(each for each in listed if each["id"] == bought["id"])

    async def events(self, state: str) -> list[Json]:
        listed: list[Json] = (await self.operator.ok("GET", f"/admin/v1/webhooks?state={state}"))["data"]
        return listed

    async def is_proven(self) -> bool:
        told: bool = (await self.operator.ok("GET", "/admin/v1/verify"))["ok"]
        return told

    def intent(self, order: str) -> Json:
        """Stripe's payment of an order of ours."""
        found = [
            each for each in self.stripe.store.all("payment_intent") if order in each["metadata"].values()
        ]
        return found[0]


@asynccontextmanager
async def a_house(folder: Path, secret: str = SECRET, **more: Any) -> AsyncIterator[House]:
    """`more` is what the policy says besides; `settings` are Stripe's, `pushing` those of usage for it."""
    stripe = await a_fake(lambda: time.time_ns() // 1000)
    settings = Settings(
        data=folder / "data",
        frontend_url="https://app.example.com",
        public_url="https://api.example.com",
        environ={
            "STRIPE_API_BASE": stripe.url,
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_WEBHOOK_SECRET": secret,
            **more.pop("settings", {}),
        },
        **more.pop("pushing", {}),
    )
    packs = {"small": {"credits": "6.00", "price": "5.00"}}
    app = MeterGate(hello, {**POLICY, "provider": "stripe", "packs": packs, **more}, settings=settings)
    try:
        async with lifespan(app):
            yield House(app, stripe)
    finally:
        await stripe.close()
