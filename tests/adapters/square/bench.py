"""The adapter for Square on its stand-in, and money in through it."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from metergate.ledger.payments import Payment
from metergate.ledger.thread import LedgerThread
from metergate.provider_port import Checkout, Context
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate.testing.provider_conformance import Delivery
from metergate_square import SquareProvider, open_provider
from tests.adapters.square.fake import ADDRESS, BAD, GOOD, SIGNATURE_KEY, TOKEN, FakeSquare
from tests.billing.bench import Books, a_ledger


class SquareBench:
    def __init__(self, fake: FakeSquare, provider: SquareProvider, clock: FakeClock) -> None:
        self.fake = fake
        self.provider = provider
        self.clock = clock

    async def pay(self, checkout: Checkout, *, declined: bool = False) -> None:
        assert (await ask("GET", f"{checkout.url}?declined=1" if declined else checkout.url)).status == 200

    async def dispute(self, payment: str) -> None:
        self.fake.dispute(payment)

    async def news(self) -> Sequence[Delivery]:
        return [Delivery(self.fake.headers(body), body) for body in self.fake.events]

    def next_request(self, kind: str) -> None:
        self.fake.server.faults.append(kind)

    def made(self) -> int:
        """Payments, and pages on which nobody has paid."""
        paid = {each["order_id"] for each in self.fake.payments.values()}
        return len(paid | {each["order_id"] for each in self.fake.links.values()})

    def method_token(self, *, declined: bool = False) -> str:
        return BAD if declined else GOOD


def settings(fake: FakeSquare) -> Mapping[str, str]:
    return {
        "SQUARE_API_BASE": fake.server.url,
        "SQUARE_ACCESS_TOKEN": TOKEN,
        "SQUARE_WEBHOOK_SIGNATURE_KEY": f"older-key,{SIGNATURE_KEY}",
        "SQUARE_WEBHOOK_URL": ADDRESS,
    }


@asynccontextmanager
async def opened() -> AsyncIterator[SquareBench]:
    clock = FakeClock()
    fake = FakeSquare(clock)
    await fake.server.start()
    provider = open_provider(Context("square", clock, ask, NotesInMemory(), settings(fake)))
    yield SquareBench(fake, provider, clock)
    await provider.close()
    await fake.server.close()


class Shop(Books):
    """Money in through Square."""

    def __init__(self, ledger: LedgerThread, square: SquareBench) -> None:
        super().__init__(ledger, square.clock, "square", square.provider)
        self.square = square
        self.fake = square.fake

    async def pay(self, payment: Payment, *, declined: bool = False) -> None:
        await self.square.pay(Checkout("", payment.url), declined=declined)

    async def hear(self, bodies: Iterable[bytes] | None = None) -> None:
        """Square's news arrives, and is handled."""
        for body in list(self.fake.events) if bodies is None else bodies:
            await self.inbox.receive("square", self.fake.headers(body), body)
        await self.handle()


@asynccontextmanager
async def a_shop(folder: Path) -> AsyncIterator[Shop]:
    async with opened() as square, a_ledger(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        shop = Shop(ledger, square)
        await shop.office.accounts.create("acct")
        yield shop
