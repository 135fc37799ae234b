"""A whole office on real parts: SQLite or PostgreSQL, the embedded store, the gate's own record path."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from metergate.admin import Hooks, Office
from metergate.config import load
from metergate.core.refusal import Refusal
from metergate.core.report import Receipt, Report
from metergate.gate import tracking
from metergate.gate.call import Call
from metergate.gate.gate import Replay, RequestGate
from metergate.ledger.backup import TABLES
from metergate.ledger.database import Ledger, Tx
from metergate.ledger.thread import LedgerThread
from metergate.ports import AskBudget
from metergate.store.embedded import EmbeddedStore
from metergate.testing.clock import FakeClock
from metergate.worker.flusher import Flusher

PEPPERS: Mapping[int, bytes] = {1: b"an old pepper", 2: b"the newest pepper"}

POLICY: Mapping[str, Any] = {
    "metergate": 1,
    "currency": "USD",
    "meters": {"requests": {"count": "calls"}, "images": {"count": "calls"}},
    "prices": {"requests": {"price": "1.00"}},
    "plans": {
        "free": {"included": {"images": {"units": 5, "every": "month"}}},
        "growth": {
            "name": "Growth",
            "price": {"amount": "9.00", "every": "month"},
            "features": ["chat"],
            "trial": {"credits": "3.00", "for": "14d"},
        },
    },
    "default_plan": "free",
    "packs": {"small": {"credits": "5.00", "price": "5.00"}},
    "routes": [{"match": "* /**", "meter": "requests"}],
}


class Bench:
    """One owner of a ledger and a store."""

    def __init__(self, ledger: LedgerThread, clock: FakeClock, policy: Mapping[str, Any] = POLICY) -> None:
        self.ledger = ledger
        self.clock = clock
        self.policy = load(policy)
        self.use(EmbeddedStore(None))

    def use(self, store: EmbeddedStore) -> None:
        """Work with this store from now on."""
        self.store = store
        ledger, clock = self.ledger, self.clock
        self.gate = RequestGate(self.policy, self.store, clock, PEPPERS)
        self.flusher = Flusher(self.store, ledger, clock)
        hooks = Hooks(record=self.record, refresh=self.refresh, held=self.held, reload=self.reload)
        self.office = Office(ledger, self.store, lambda: self.policy, clock, PEPPERS, hooks=hooks)

    async def do(self, verb: str, **params: object) -> dict[str, Any]:
        return await self.office.do(verb, params)

    async def reload(self) -> None:
        self.policy = load({**POLICY, "service": "another"})

    def held(self, account: str) -> int:
        return sum(c.cost for c in self.gate.live.values() if c.member.caller.account.id == account)

    async def admit(self, key: str) -> Call | Refusal:
        """A call with this key, as the middleware makes it."""
        now_us = self.clock()
        lane = self.gate.members.lanes.setdefault(b"x-api-key", {})
        assert lane is not None
        member = lane.get(key.encode())
        if member is None or member.fresh_until_us <= now_us:
            asked = self.gate.members.find_key((key,), now_us)
            found = await asked if isinstance(asked, Awaitable) else asked
            if isinstance(found, Refusal):
                return found
            lane[key.encode()] = member = found
        route = self.policy.routes[0]
        admitted = self.gate.admit(member, route, "/x", self.gate.request_id())
        admitted = await admitted if isinstance(admitted, Awaitable) else admitted
        assert not isinstance(admitted, Replay)
        return admitted

    async def spend(self, key: str) -> str:
        """One call from its hold to its end; why it was refused, or nothing."""
        call = await self.admit(key)
        if isinstance(call, Refusal):
            return call.reason
        call.dispatched()
        call.settle()
        await self.gate.endings.done()
        return ""

    async def record(self, recording: Report) -> Receipt:
        return await tracking.record(self.gate, recording)

    async def refresh(self) -> None:
        await self.gate.endings.done()
        await self.flusher.run_dry()

    def balance(self, account: str) -> int | None:
        told = self.store.state((AskBudget(f"credits:{account}"),))[0]
        assert told is None or isinstance(told, int)
        return told

    async def snapshot(self) -> object:
        """Everything that nonsense must not change."""
        counted = await self.ledger.read(_counted)
        store = self.store
        return counted, dict(store._accounts), dict(store._keys), dict(store._budgets), store.drain(10**6)


def _counted(tx: Tx) -> Mapping[str, object]:
    return {table.name: [tuple(row) for row in tx.execute(table.select())] for table in TABLES}


@asynccontextmanager
async def opened(url: str, clock: FakeClock) -> AsyncIterator[Bench]:
    ledger = LedgerThread(Ledger.open(url, durable=False))
    await ledger.run(ledger.ledger.migrate)
    try:
        yield Bench(ledger, clock)
    finally:
        await ledger.close()


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.sqlite'}"
