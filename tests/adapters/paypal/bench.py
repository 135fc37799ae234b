"""The adapter for PayPal on its stand-in."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from metergate.ledger.payments import Payment
from metergate.ledger.thread import LedgerThread
from metergate.provider_port import Checkout, Context
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate.testing.provider_conformance import Delivery
from metergate_paypal import PayPalProvider, open_provider
from tests.adapters.paypal.fake import CLIENT_ID, SECRET, WEBHOOK, FakePayPal
from tests.billing.bench import Books, a_ledger


class PayPalBench:
    def __init__(self, fake: FakePayPal, provider: PayPalProvider, clock: FakeClock) -> None:
        self.fake = fake
        self.provider = provider
        self.clock = clock

    async def pay(self, checkout: Checkout, *, declined: bool = False) -> None:
        url = f"{checkout.url}&declined=1" if declined else checkout.url
        assert (await ask("GET", url)).status == 200

    async def dispute(self, payment: str) -> None:
        self.fake.dispute(payment)

    async def news(self) -> Sequence[Delivery]:
        return [Delivery(self.headers(body), body) for body in self.fake.events]

    def headers(self, body: bytes) -> dict[str, str]:
        return self.fake.signer.headers(body, self.fake.server.url)

    def next_request(self, kind: str) -> None:
        self.fake.server.faults.append(kind)

    def made(self) -> int:
        return len(self.fake.orders)

    def method_token(self, *, declined: bool = False) -> str:
        raise NotImplementedError


def settings(fake: FakePayPal, folder: Path) -> dict[str, str]:
    return {
        "PAYPAL_API_BASE": fake.server.url,
        "PAYPAL_CLIENT_ID": CLIENT_ID,
        "PAYPAL_CLIENT_SECRET": SECRET,
        "PAYPAL_WEBHOOK_ID": f"OLDER{WEBHOOK},{WEBHOOK}",
        "PAYPAL_CERT_ROOTS": fake.signer.roots(folder),
    }


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[PayPalBench]:
    clock = FakeClock()
    fake = FakePayPal(clock)
    await fake.server.start()
    context = Context("paypal", clock, ask, NotesInMemory(), settings(fake, folder))
    provider = open_provider(context)
    yield PayPalBench(fake, provider, clock)
    await provider.close()
    await fake.server.close()


class Shop(Books):
    """Money in through PayPal."""

    def __init__(self, ledger: LedgerThread, paypal: PayPalBench) -> None:
        super().__init__(ledger, paypal.clock, "paypal", paypal.provider)
        self.paypal = paypal
        self.fake = paypal.fake

    async def approve(self, payment: Payment, *, declined: bool = False) -> None:
        self.fake.approve(payment.checkout_id or "", declined=declined)

    async def hear(self, bodies: Iterable[bytes] | None = None) -> None:
        """PayPal's news arrives, and is handled."""
        for body in self.fake.events if bodies is None else bodies:
            await self.inbox.receive("paypal", self.paypal.headers(body), body)
        await self.handle()


@asynccontextmanager
async def a_shop(folder: Path) -> AsyncIterator[Shop]:
    async with opened(folder) as paypal, a_ledger(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        shop = Shop(ledger, paypal)
        await shop.office.accounts.create("acct")
        yield shop
