"""A real store over a real ledger, with the clock in the test's hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from metergate.core.budget import BALANCE, COST, Draw
from metergate.core.hold import Outcome, Terms, UsageEvent
from metergate.core.idempotency import Twin
from metergate.ledger import accounts, grants, usage
from metergate.ledger.database import Ledger
from metergate.ledger.thread import LedgerThread
from metergate.ledger.usage import UsageRow
from metergate.ports import GRANTED, AskBudget, Hold, Settle
from metergate.store.embedded import EmbeddedStore
from metergate.store.journal import Journal
from metergate.testing.clock import FakeClock
from metergate.wire import encode_event, encode_terms
from metergate.worker.recovery import load

TERMS = Terms(
    "acct",
    "",
    "",
    "v1",
    "",
    "GET /",
    "calls",
    "USD",
    (Draw(BALANCE, "credits:acct", 10, 0, 0, 0, COST),),
    unknown_units=1,
    unknown_cost=10,
)


class House:
    def __init__(self, store: EmbeddedStore, ledger: LedgerThread, clock: FakeClock) -> None:
        self.store = store
        self.ledger = ledger
        self.clock = clock

    def hold(
        self, op: str, *, lasts_us: int = 10**6, dispatch: bool = True, twin: Twin | None = None
    ) -> None:
        now_us = self.clock()
        held = Hold(op, "acct", 1, TERMS.draws, now_us + lasts_us, encode_terms(TERMS), op, twin)
        assert self.store.hold((held,), now_us)[0].status == GRANTED
        if dispatch:
            self.store.dispatch(op)

    def settle(self, *ops: str, terms: Terms = TERMS) -> None:
        outcome = Outcome(1, (), 10, "measured", (10,), terms)
        events = [UsageEvent(op, op, self.clock(), "/", outcome) for op in ops]
        self.store.settle([Settle(e.op, None, encode_event(e)) for e in events], self.clock())

    def settle_oddly(self, op: str, cost: int) -> UsageEvent:
        """End a call with a cost that no ledger can keep."""
        event = UsageEvent(op, op, self.clock(), "/", Outcome(1, (), cost, "measured", (10,), TERMS))
        self.store.settle([Settle(op, None, encode_event(event))], self.clock())
        return event

    def balance(self) -> int:
        told = self.store.state((AskBudget("credits:acct"),))[0]
        assert isinstance(told, int)
        return told

    async def rows(self) -> list[UsageRow]:
        return list(await self.ledger.read(lambda tx: usage.rows(tx, limit=1000)))

    async def grant(self, amount: int, *, id: str, expires_at_us: int | None = None) -> None:
        now_us = self.clock()
        await self.ledger.write(
            lambda tx: grants.give(tx, "acct", amount, id=id, at_us=now_us, expires_at_us=expires_at_us)
        )


@asynccontextmanager
async def a_house(folder: Path, *, grant: int = 1000, expires_in_us: int = 0) -> AsyncIterator[House]:
    """One account with credits, in a folder of its own."""
    clock = FakeClock()
    ledger = LedgerThread(Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}"))
    await ledger.run(ledger.ledger.migrate)
    await ledger.write(lambda tx: accounts.create(tx, "acct", at_us=clock()))
    store = EmbeddedStore(Journal(folder / "journal"))
    house = House(store, ledger, clock)
    await house.grant(grant, id="g", expires_at_us=clock() + expires_in_us if expires_in_us else None)
    await load(store, ledger, clock)
    try:
        yield house
    finally:
        store.close()
        await ledger.close()
