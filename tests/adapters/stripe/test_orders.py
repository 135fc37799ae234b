"""Stripe's news in any order and number, while the payment lives on: the books end the same."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metergate.admin import Office
from metergate.billing import Cashier, Inbox, Opened, Providers, Rule, Wanted
from metergate.config import load
from metergate.ledger.database import Ledger
from metergate.ledger.payments import Payment
from metergate.ledger.thread import LedgerThread
from metergate.ledger.verify import verify
from metergate.provider_port import Money
from metergate.store.embedded import EmbeddedStore
from tests.adapters.stripe.bench import Bench, a_bench
from tests.adapters.stripe.fake.paying import disputed
from tests.adapters.stripe.fake.store import Json
from tests.billing.bench import NANOS, POLICY


class Desk(NamedTuple):
    """The billing of metergate on an empty ledger, with Stripe behind it."""

    bench: Bench
    ledger: LedgerThread
    office: Office
    cashier: Cashier
    inbox: Inbox

    async def deliver(self, events: list[Json]) -> None:
        for event in events:
            body = self.bench.fake.body(event)
            await self.inbox.receive("stripe", self.bench.fake.signed(body), body)
            while await self.inbox.handle_some():
                pass

    async def books(self) -> tuple[int, str, list[str]]:
        balance = (await self.office.credits.show("acct"))["balance"]["nanos"]
        payment = await self.cashier.get("life")
        differences = await self.ledger.read(lambda tx: [str(each) for each in verify(tx)])
        return balance, payment.state, differences


@asynccontextmanager
async def a_desk(folder: str) -> AsyncIterator[Desk]:
    async with a_bench() as bench:
        ledger = LedgerThread(Ledger.open(f"sqlite:///{folder}/ledger.sqlite", durable=False))
        await ledger.run(ledger.ledger.migrate)
        policy = load(POLICY)
        office = Office(ledger, EmbeddedStore(None), lambda: policy, bench.clock, {1: b"pepper"})
        providers = Providers([Opened("stripe", bench.stripe, "stripe")], [Rule("stripe")])
        cashier = Cashier(lambda: office.desk, lambda: providers, bench.clock, shared=False)
        await office.accounts.create("acct")
        try:
            yield Desk(bench, ledger, office, cashier, Inbox(cashier))
        finally:
            await ledger.close()


def a_life(desk: Desk, payment: Payment) -> list[Callable[[], object]]:
    """What happens at Stripe, one after the other: thirds go back, a part is disputed, and lost."""
    store = desk.bench.store

    def intent() -> Json:
        return next(each for each in store.all("payment_intent"))

    async def goes_back(id: str) -> None:
        await desk.bench.stripe.refund_payment(intent()["id"], Money(333, "USD"), id)

    return [
        lambda: desk.bench.pay(payment.url, "4000000000000002"),
        lambda: desk.bench.pay(payment.url),
        lambda: goes_back("ref-1"),
        lambda: disputed(store, intent(), "needs_response", 100),
        lambda: goes_back("ref-2"),
        lambda: disputed(store, intent(), "lost"),
    ]


async def books_after(told: list[list[int]], seed: int) -> tuple[int, str, list[str]]:
    """`told` is what is delivered after each step: numbers of events that there are by then."""
    with tempfile.TemporaryDirectory() as folder:
        async with a_desk(folder) as desk:
            wanted = Wanted("acct", Money(1000, "USD"), credits=10 * NANOS)
            payment = await desk.cashier.pay(wanted, "life")
            events = desk.bench.store.events
            for step, numbers in zip(a_life(desk, payment), told, strict=True):
                done = step()
                if asyncio.iscoroutine(done):
                    await done
                await desk.deliver([events[number % len(events)] for number in numbers])
            rest = [*events, *events]
            random.Random(seed).shuffle(rest)
            await desk.deliver(rest)
            return await desk.books()


deliveries = st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=6, max_size=6)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(told=deliveries, seed=st.integers(0, 1000))
def test_whatever_is_told_when_and_how_often_the_books_end_the_same(told: list[list[int]], seed: int) -> None:
    left = (1000 - 333 - 333 - 100) * NANOS // 100
    assert asyncio.run(books_after(told, seed)) == (left, "succeeded", [])
