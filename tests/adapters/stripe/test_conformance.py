"""The adapter keeps the whole contract of a payment provider, by its SDK against a fake of Stripe."""

from collections.abc import AsyncIterator, Sequence

import pytest

from metergate.provider_port import Checkout, Context
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate.testing.provider_conformance import Delivery, ProviderContract
from metergate_stripe import StripeProvider, open_provider
from tests.adapters.stripe.fake.paying import disputed
from tests.adapters.stripe.fake.server import FakeStripe
from tests.adapters.stripe.fake.subscribing import renewed
from tests.adapters.stripe.fake.whole import KEY, SECRET, a_fake


class StripeBench:
    def __init__(self, fake: FakeStripe, provider: StripeProvider, clock: FakeClock) -> None:
        self.fake = fake
        self.provider = provider
        self.clock = clock

    async def pay(self, checkout: Checkout, *, declined: bool = False) -> None:
        card = b"card=4000000000000002" if declined else b"card=4242424242424242"
        answer = await ask("POST", checkout.url, body=card)
        assert answer.status == (402 if declined else 200)

    async def dispute(self, payment: str) -> None:
        intent = self.fake.store.objects[payment]
        disputed(self.fake.store, intent, "needs_response")
        disputed(self.fake.store, intent, "lost")

    async def renew(self, subscription: str, *, paid: bool = True) -> None:
        known = self.fake.store.objects[subscription]
        known["default_payment_method"] = "pm_card_visa" if paid else "pm_card_chargeCustomerFail"
        renewed(self.fake.store, known)

    async def news(self) -> Sequence[Delivery]:
        bodies = [self.fake.body(event) for event in self.fake.store.events]
        return [Delivery(self.fake.signed(body), body) for body in bodies]

    def next_request(self, kind: str) -> None:
        self.fake.faults.append(kind)

    def made(self) -> int:
        return self.fake.store.made()

    def method_token(self, *, declined: bool = False) -> str:
        return "pm_card_chargeCustomerFail" if declined else "pm_card_visa"


class TestStripe(ProviderContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[StripeBench]:
        clock = FakeClock()
        fake = await a_fake(clock)
        settings = {
            "STRIPE_API_BASE": fake.url,
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_WEBHOOK_SECRET": f"whsec_old,{SECRET}",
            "STRIPE_RETURN_URL": "https://app.example.com/",
        }
        provider = open_provider(Context("stripe", clock, ask, NotesInMemory(), settings))
        yield StripeBench(fake, provider, clock)
        await provider.close()
        await fake.close()
