"""The adapter alone, on a fake of Stripe with a clock that stands still."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from metergate.provider_port import Context, Money, Order, Payer
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_stripe import StripeProvider, open_provider
from tests.adapters.stripe.fake.params import decoded
from tests.adapters.stripe.fake.server import FakeStripe
from tests.adapters.stripe.fake.store import Json, Store
from tests.adapters.stripe.fake.whole import KEY, SECRET, a_fake

_numbers = count(1)


class Bench:
    def __init__(self, fake: FakeStripe, stripe: StripeProvider, clock: FakeClock) -> None:
        self.fake = fake
        self.stripe = stripe
        self.clock = clock

    @property
    def store(self) -> Store:
        return self.fake.store

    async def customer(self, account: str = "acct_1") -> str:
        return (await self.stripe.create_customer(Payer(account, f"{account}@example.com"))).id

    async def method(self, customer: str, token: str = "pm_card_visa") -> str:
        return (await self.stripe.attach_method(customer, token)).id

    async def pay(self, url: str, card: str = "4242424242424242") -> None:
        await ask("POST", url, body=f"card={card}".encode())

    def asked(self, path: str) -> list[Json]:
        """What was sent to this address, in order."""
        sent = [each for each in self.fake.seen if each.method == "POST" and each.path == path]
        return [decoded(each.body.decode()) for each in sent]


def an_order(minor: int = 1999, currency: str = "USD", **more: Any) -> Order:
    return Order(f"pay-{next(_numbers)}", Payer("acct_1"), Money(minor, currency), **more)


HOOK = "https://api.example.com/billing/v1/webhooks/stripe"


@asynccontextmanager
async def a_bench(webhook_url: str = HOOK, **settings: str) -> AsyncIterator[Bench]:
    clock = FakeClock()
    fake = await a_fake(clock)
    given = {
        "STRIPE_API_BASE": fake.url,
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_RETURN_URL": "https://app.example.com/",
        **settings,
    }
    stripe = open_provider(Context("stripe", clock, ask, NotesInMemory(), given, webhook_url=webhook_url))
    try:
        yield Bench(fake, stripe, clock)
    finally:
        await stripe.close()
        await fake.close()
