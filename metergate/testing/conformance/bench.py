"""A store under test, with short words for what the tests do with it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeVar

import pytest

from metergate.core.budget import BALANCE, COST, QUOTA, RATE, SLOTS, UNITS, Draw
from metergate.core.facts import AccountFacts, Caller
from metergate.core.hold import Event, Outcome, Terms, UsageEvent
from metergate.core.idempotency import Twin
from metergate.ports import (
    DONE,
    AskAccount,
    AskBudget,
    Change,
    CounterStore,
    Expired,
    Held,
    Hold,
    PutAccount,
    PutBudget,
    Settle,
    Told,
    answered,
)
from metergate.testing.clock import FakeClock
from metergate.wire import decode_events, encode_event, encode_terms, raw_terms

T = TypeVar("T")

MakeStore = Callable[[int], CounterStore | Awaitable[CounterStore]]
"""Makes an empty store that lets so many events wait for the ledger."""

BACKLOG = 1000
HOUR_US = 3600 * 10**6
TERMS = encode_terms(Terms("acct", "", "", "", "", "", "", "USD", ()))


OUTCOME = Outcome(1, (), 1, "measured", (1,), raw_terms(TERMS))


def an_event(op: str, path: str = "/") -> Event:
    return encode_event(UsageEvent(op, f"req-{op}", 0, path, OUTCOME))


def money(amount: int, account: str = "acct", *, low: int = 0) -> Draw:
    return Draw(BALANCE, f"credits:{account}", amount, low, 0, 0, COST)


def quota(amount: int, high: int, account: str = "acct", *, low: int = 0, name: str = "used") -> Draw:
    until = FakeClock().now_us + 24 * HOUR_US
    return Draw(QUOTA, f"{name}:{account}:m:day", amount, low, high, until, UNITS)


def rate(interval_us: int, burst: int, account: str = "acct", *, amount: int = 1) -> Draw:
    return Draw(RATE, f"rate:account:{account}:r", amount, interval_us, interval_us * burst)


def slot(calls: int, account: str = "acct") -> Draw:
    return Draw(SLOTS, f"open:account:{account}", 1, 0, calls)


def holding(nanos: int, high: int, account: str = "acct") -> Draw:
    return Draw(SLOTS, f"held:account:{account}", nanos, 0, high)


class Bench:
    """Knows the generation of every account and every budget that was ever drawn from."""

    def __init__(self, store: CounterStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self._names: dict[str, None] = {}
        self._ops = count(1)

    async def know(self, *changes: Change) -> list[str]:
        for change in changes:
            if isinstance(change, PutAccount):
                self._names[f"credits:{change.account.id}"] = None
            elif isinstance(change, PutBudget):
                self._names[change.name] = None
        return list(await answered(self.store.sync(changes, self.clock())))

    async def account(self, id: str = "acct", balance: int = 0) -> None:
        assert await self.know(PutAccount(AccountFacts(id), balance)) == [DONE]

    async def generation(self, account: str = "acct") -> int:
        told = (await answered(self.store.state((AskAccount(account),))))[0]
        return told.generation if isinstance(told, Caller) else 0

    async def a_hold(
        self,
        *draws: Draw,
        op: str = "",
        account: str = "acct",
        twin: Twin | None = None,
        lasts_us: int = HOUR_US,
    ) -> Hold:
        """A hold that has not been sent yet."""
        self._names.update(dict.fromkeys(draw.name for draw in draws))
        op = op or f"op-{next(self._ops)}"
        generation = await self.generation(account)
        expires_at_us = self.clock() + lasts_us
        return Hold(op, account, generation, draws, expires_at_us, TERMS, f"req-{op}", twin)

    async def send(self, *holds: Hold) -> list[Held]:
        return list(await answered(self.store.hold(holds, self.clock())))

    async def hold(
        self,
        *draws: Draw,
        op: str = "",
        account: str = "acct",
        twin: Twin | None = None,
        lasts_us: int = HOUR_US,
    ) -> Held:
        return (
            await self.send(await self.a_hold(*draws, op=op, account=account, twin=twin, lasts_us=lasts_us))
        )[0]

    async def settle(self, op: str, *amounts: int, path: str = "/", answer: bytes | None = None) -> str:
        """End a call; `path` is something in its event that differs."""
        settle = Settle(op, amounts, an_event(op, path), answer)
        return (await answered(self.store.settle((settle,), self.clock())))[0]

    async def release(self, *ops: str) -> list[str]:
        return list(await answered(self.store.release(ops, self.clock())))

    async def lapse(self, *ops: str) -> list[str]:
        return list(await answered(self.store.lapse(ops, self.clock())))

    async def renew(self, *ops: str, lasts_us: int = HOUR_US) -> list[str]:
        return list(await answered(self.store.renew(ops, self.clock() + lasts_us)))

    async def expire(self, limit: int = 100) -> list[Expired]:
        return list(await answered(self.store.expire(self.clock(), limit)))

    async def budget(self, name: str = "credits:acct") -> int | None:
        told = (await answered(self.store.state((AskBudget(name),))))[0]
        assert told is None or isinstance(told, int)
        return told

    async def events(self, limit: int = 1000) -> list[str]:
        """The ids of the calls whose events wait."""
        entries = await answered(self.store.drain(limit))
        return [event.op for entry in entries for event in decode_events(entry.events)]

    async def acknowledge(self, count: int) -> None:
        entries = await answered(self.store.drain(count))
        answers = await answered(self.store.acknowledge([entry.id for entry in entries]))
        assert list(answers) == [DONE] * count

    @asynccontextmanager
    async def nothing_changes(self) -> AsyncIterator[None]:
        """What happens inside moves no budget and leaves no event."""
        before = await self.events()
        async with self.budgets_stay():
            yield
        assert await self.events() == before

    @asynccontextmanager
    async def budgets_stay(self) -> AsyncIterator[None]:
        """What happens inside moves no budget."""
        before = await self._budgets()
        yield
        assert await self._budgets() == before

    async def _budgets(self) -> dict[str, Told]:
        told = await answered(self.store.state([AskBudget(name) for name in self._names]))
        # A counter that nobody has drawn from may be absent or zero: both mean the same.
        return {name: value for name, value in zip(self._names, told, strict=True) if value}


@pytest.mark.anyio
class OnBench:
    """What all parts of the contract have in common."""

    @pytest.fixture(scope="session")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture
    def make_store(self) -> MakeStore:
        raise NotImplementedError("Override the fixture make_store: it makes the store under test.")

    @pytest.fixture
    async def bench(self, make_store: MakeStore) -> Bench:
        return await a_bench(make_store, BACKLOG)


async def a_bench(make_store: MakeStore, backlog: int) -> Bench:
    made = make_store(backlog)
    return Bench(await made if isinstance(made, Awaitable) else made, FakeClock())
