"""Money in on real parts: a ledger, the embedded store, and the sandbox over HTTP."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from metergate.admin import Office
from metergate.billing import Cashier, Inbox, Opened, Providers, Rounds, Rule, Wanted
from metergate.config import load
from metergate.ledger import reversals
from metergate.ledger.database import Ledger
from metergate.ledger.inbox import EventRow
from metergate.ledger.inbox import page as events
from metergate.ledger.payments import Payment
from metergate.ledger.payments import page as rows
from metergate.ledger.thread import LedgerThread
from metergate.ledger.verify import verify
from metergate.ports import AskBudget
from metergate.provider_port import Context, Money, Provider
from metergate.provider_port.http import ask
from metergate.store.embedded import EmbeddedStore
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_sandbox import SandboxProvider, Server, open_provider

KEY, SECRET = "sk_test_1", "whsec_1"
NANOS = 10**9
POLICY: dict[str, Any] = {
    "metergate": 1,
    "currency": "USD",
    "meters": {"requests": {"count": "calls"}},
    "prices": {"requests": {"price": "1.00"}},
    "plans": {"free": {}, "growth": {"price": {"amount": "9.00", "every": "month"}}},
    "default_plan": "free",
    "routes": [{"match": "* /**", "meter": "requests"}],
}


class Books:
    """Money in on a ledger and the embedded store, with one provider."""

    def __init__(self, ledger: LedgerThread, clock: FakeClock, name: str, provider: Provider) -> None:
        self.ledger = ledger
        self.clock = clock
        self.name = name
        self.store = EmbeddedStore(None)
        policy = load(POLICY)
        self.office = Office(ledger, self.store, lambda: policy, clock, {1: b"pepper"})
        providers = Providers([Opened(name, provider, name)], [Rule(name)])
        self.cashier = Cashier(lambda: self.office.desk, lambda: providers, clock, shared=False)
        self.inbox = Inbox(self.cashier)
        self.rounds = Rounds(self.cashier, self.inbox)

    async def top_up(self, minor: int = 1999, id: str = "", **more: Any) -> Payment:
        """Somebody wants to pay; the credits are worth what they cost."""
        amount = Money(minor, more.pop("currency", "USD"))
        wanted = Wanted("acct", amount, credits=amount.minor * NANOS // 100, **more)
        return await self.cashier.pay(wanted, id)

    async def handle(self) -> None:
        while await self.inbox.handle_some():
            pass

    def balance(self) -> int | None:
        told = self.store.state((AskBudget("credits:acct"),))[0]
        assert told is None or isinstance(told, int)
        return told

    async def payments(self) -> list[Payment]:
        return await self.ledger.read(rows)

    async def payment(self, id: str) -> Payment:
        return await self.cashier.get(id)

    async def events(self) -> list[EventRow]:
        return await self.ledger.read(events)

    async def differences(self) -> list[str]:
        return await self.ledger.read(lambda tx: [str(each) for each in verify(tx)])

    async def books(self) -> object:
        """What is the same whatever came first: what everybody has, and what every payment came to."""
        balance = (await self.office.credits.show("acct"))["balance"]["nanos"]
        paid = [(each.id, each.state, each.paid_minor) for each in await self.payments()]

        def back(tx: Any) -> object:
            return [
                sorted((each.external_id, each.state) for each in reversals.refunds_of(tx, row[0]))
                + sorted((each.external_id, each.state) for each in reversals.disputes_of(tx, row[0]))
                for row in paid
            ]

        return balance, self.balance(), paid, await self.ledger.read(back)

    async def spend(self, nanos: int) -> None:
        """Credits that are used up: an adjustment of the same size, which takes them in the same order."""
        await self.office.do(
            "credits.adjust", {"account": "acct", "amount": f"-{nanos // NANOS}", "reason": "used"}
        )


class Bench(Books):
    """With the sandbox over HTTP."""

    def __init__(self, ledger: LedgerThread, server: Server, clock: FakeClock) -> None:
        self.server = server
        self.sandbox = server.sandbox
        self.provider = _provider_at(server, clock)
        self.others: list[Server] = []
        super().__init__(ledger, clock, "sandbox", self.provider)

    async def another_sandbox(self) -> tuple[Server, SandboxProvider]:
        server = Server(KEY, SECRET, self.clock, ask)
        await server.start()
        self.others.append(server)
        return server, _provider_at(server, self.clock)

    async def paid(self, minor: int = 1999, id: str = "") -> Payment:
        """Paid on the page, and nobody has told us yet."""
        payment = await self.top_up(minor, id)
        await self.pay(payment)
        return payment

    async def pay(self, payment: Payment, card: str = "4242424242424242") -> None:
        await self.pay_at(payment.url, card)

    async def pay_at(self, page: str, card: str = "4242424242424242") -> None:
        """Somebody pays on a page of the sandbox, of a payment or of an invoice."""
        await ask("POST", page, body=f"card={card}".encode())

    def deliveries(self) -> list[bytes]:
        return list(self.server.news.sent)

    async def deliver(self, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            await self.inbox.receive("sandbox", self.server.news.headers(body), body)


def _provider_at(server: Server, clock: FakeClock) -> SandboxProvider:
    settings = {
        "SANDBOX_API_BASE": server.url,
        "SANDBOX_SECRET_KEY": KEY,
        "SANDBOX_WEBHOOK_SECRET": SECRET,
    }
    return open_provider(Context("sandbox", clock, ask, NotesInMemory(), settings))


@asynccontextmanager
async def a_ledger(url: str) -> AsyncIterator[LedgerThread]:
    ledger = LedgerThread(Ledger.open(url, durable=False))
    await ledger.run(ledger.ledger.migrate)
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Bench]:
    clock = FakeClock()
    server = Server(KEY, SECRET, clock, ask)
    await server.start()
    async with a_ledger(url) as ledger:
        bench = Bench(ledger, server, clock)
        await bench.office.accounts.create("acct")
        try:
            yield bench
        finally:
            for each in (server, *bench.others):
                await each.close()
