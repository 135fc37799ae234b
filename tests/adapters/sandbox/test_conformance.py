"""The sandbox keeps the whole contract of a payment provider, over real HTTP."""

from collections.abc import AsyncIterator, Sequence

import pytest

from metergate.provider_port import LOST, Checkout, Context, DisputeFacts
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED, Delivery, ProviderContract
from metergate_sandbox import SandboxProvider, Server, open_provider

FAULTS = {BUSY: "busy", BROKEN: "broken", UNANSWERED: "lost"}


class SandboxBench:
    def __init__(self, server: Server, provider: SandboxProvider, clock: FakeClock) -> None:
        self.server = server
        self.provider = provider
        self.clock = clock

    async def pay(self, checkout: Checkout, *, declined: bool = False) -> None:
        card = b"card=4000+0000+0000+0002" if declined else b"card=4242424242424242"
        answer = await ask("POST", checkout.url, body=card)
        assert answer.status == 200

    async def dispute(self, payment: str) -> None:
        amount = self.server.sandbox.payments[payment].amount
        self.server.sandbox.dispute(payment, DisputeFacts("dp_1", amount, LOST))

    async def news(self) -> Sequence[Delivery]:
        news = self.server.news
        return [Delivery(news.headers(body), body) for body in news.sent]

    async def renew(self, subscription: str, *, paid: bool = True) -> None:
        self.server.sandbox.renew(subscription, "active" if paid else "past_due")

    def next_request(self, kind: str) -> None:
        self.server.fault({"kind": FAULTS[kind]})

    def made(self) -> int:
        return len(self.server.sandbox.payments)

    def method_token(self, *, declined: bool = False) -> str:
        return "tok_declined" if declined else "tok_visa"


class TestSandbox(ProviderContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        clock = FakeClock()
        server = Server("sk_test_1", "new", clock, ask)
        await server.start()
        settings = {
            "SANDBOX_API_BASE": server.url,
            "SANDBOX_SECRET_KEY": "sk_test_1",
            "SANDBOX_WEBHOOK_SECRET": "old,new",
        }
        provider = open_provider(Context("sandbox", clock, ask, NotesInMemory(), settings))
        yield SandboxBench(server, provider, clock)
        await provider.close()
        await server.close()
