"""Whatever happens in whatever order, a service answers as a dictionary would: over each kind of store.

Holds, ends, time, crashes, flushes, grants, revocations and policies that are read anew; hypothesis looks for
an order after which the service and the dictionary disagree, and shortens it.
"""

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from metergate import joining
from metergate.asgi.middleware import Metered
from metergate.config.settings import Settings
from metergate.engine import Engine
from metergate.errors import MetergateError
from metergate.ledger import Ledger
from metergate.ports import AskBudget, StoreHealth, answered
from metergate.testing.asgi import Answer, fetch
from tests.adapters.redis.fake import fake_server
from tests.shell import hello

T = TypeVar("T")

DOLLAR = 10**9
FIRST = 12
ROWS_HELD = 3
START_US = 1_800_000_000 * 10**6
HEALS_S = 30.0
LATE_US = 3600 * 10**6
RELEASED, FORGOTTEN = "released", "forgotten"
NUMBERS = itertools.count()


@dataclass
class Held:
    account: str
    kind: str
    amount: int
    price: int
    until_us: int
    end: str = ""
    """How it ended, as the front would say it again."""


@dataclass
class Model:
    """The whole service as dictionaries."""

    credits: dict[str, int] = field(default_factory=dict)
    """What can be spent."""
    grants: dict[str, int] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    holds: dict[str, Held] = field(default_factory=dict)
    billed: list[tuple[str, int]] = field(default_factory=list)
    price: int = 1

    def answers(self, key: str, amount: int) -> int:
        if key in self.revoked:
            return 401
        return 200 if self.credits[self.keys[key]] >= amount else 402

    def charge(self, account: str, held: int, cost: int) -> None:
        self.credits[account] += held - cost
        self.billed.append((account, cost))

    def end(self, ticket: str, end: str, cost: int | None, now_us: int) -> int:
        """The status of an end; the first one counts."""
        hold = self.holds[ticket]
        if hold.end == FORGOTTEN:
            return self._end_forgotten(hold, end, cost, now_us)
        if hold.end:
            return 200 if hold.end == end else 409
        hold.end = end
        if cost is None:
            self.credits[hold.account] += hold.amount
        else:
            self.charge(hold.account, hold.amount, cost)
        return 200

    def _end_forgotten(self, hold: Held, end: str, cost: int | None, now_us: int) -> int:
        """Of a hold that nobody knows any more the front is believed, for a while: it was used."""
        if cost is None:
            return 200
        if now_us > hold.until_us + LATE_US:
            return 409
        hold.end = end
        self.charge(hold.account, 0, cost)
        return 200

    def forget(self) -> None:
        """A store that dies with its process knows from the journal what was used, and not what was not."""
        for hold in self.holds.values():
            if hold.end == RELEASED:
                hold.end = FORGOTTEN

    def pass_time(self, now_us: int) -> None:
        for ticket, hold in self.holds.items():
            if not hold.end and hold.until_us <= now_us:
                self.end(ticket, "unknown", hold.amount, now_us)


class Machine(RuleBasedStateMachine):
    runner: asyncio.Runner
    store: str = ""
    ledger: str = ""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="metergate-model-")
        self.policy = Path(self.folder.name) / "policy.json"
        self.now_us = START_US + next(NUMBERS) * 2 * 10**11
        """Each example is later than the one before: they share a ledger where there is one."""
        self.model = Model()
        self.write_policy()
        self.wait(self.open())
        self.wait(self.make_customers())

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            try:
                self.wait(self.prove())
            finally:
                self.wait(self.engine.stop())
                self.folder.cleanup()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def write_policy(self) -> None:
        held: dict[str, Any] = {"hold": {"units": ROWS_HELD}, "on_unknown_outcome": "hold"}
        policy = {
            "metergate": 1,
            "fsync": "no",
            "meters": {"calls": {"count": "calls"}, "rows": {"count": "json", "path": "$.rows"}},
            "prices": {name: {"price": str(self.model.price)} for name in ("calls", "rows")},
            "routes": [{"match": "* /rows", "meter": "rows", **held}, {"match": "* /**", "meter": "calls"}],
        }
        self.policy.write_text(json.dumps(policy))

    async def open(self) -> None:
        given = Settings(
            store=self.store,
            ledger=self.ledger,
            data=Path(self.folder.name) / "data",
            peppers=("the same in every example",),
            worker=bool(self.store),
        )
        self.engine = Engine(str(self.policy), given, lambda: self.now_us)
        await self.engine.start()
        self.engine.foundation.worker.reaper._there = None  # the server's time is not that of this story
        self.door = Metered(hello, self.engine)

    async def make_customers(self) -> None:
        for name in "ab":
            account = f"{name}{next(NUMBERS)}"
            await self.engine.office.accounts.create(account)
            await self.engine.office.credits.grant(account, str(FIRST))
            self.model.credits[account] = FIRST
            for _ in range(2):
                key = (await self.engine.office.keys.create(account))["key"]
                self.model.keys[key] = account

    # -- what happens --------------------------------------------------------------------------------------

    def account(self, number: int) -> str:
        return list(self.model.credits)[number]

    def key(self, number: int) -> str:
        return list(self.model.keys)[number]

    @rule(number=st.integers(0, 1), amount=st.integers(1, 6), id=st.integers(0, 2))
    def grant(self, number: int, amount: int, id: int) -> None:
        """Once per id; the same id with another amount is refused."""
        account = self.account(number)
        name = f"{account}-{id}"
        asked = {"account": account, "amount": str(amount), "id": name}
        if self.model.grants.get(name, amount) != amount:
            with pytest.raises(MetergateError):
                self.wait(self.engine.office.do("credits.grant", asked))
            return
        self.wait(self.engine.office.do("credits.grant", asked))
        self.model.credits[account] += 0 if name in self.model.grants else amount
        self.model.grants[name] = amount

    @rule(number=st.integers(0, 3))
    def call(self, number: int) -> None:
        key, price = self.key(number), self.model.price
        status = self.model.answers(key, price)
        answer = self.wait(fetch(self.door, "GET", "/x", headers={"x-api-key": key}))
        assert answer.status == status
        if status == 200:
            self.model.charge(self.model.keys[key], 0, price)

    @rule(number=st.integers(0, 3), kind=st.sampled_from(["calls", "rows"]), ttl=st.sampled_from([10, 3600]))
    def hold(self, number: int, kind: str, ttl: int) -> None:
        key, price = self.key(number), self.model.price
        amount = price * (ROWS_HELD if kind == "rows" else 1)
        status = self.model.answers(key, amount)
        answer = self.ask("hold", key=key, method="GET", path=f"/{kind}", ttl=ttl)
        assert answer.status == status, answer.body
        if status == 200:
            account = self.model.keys[key]
            self.model.credits[account] -= amount
            until_us = self.now_us + ttl * 10**6
            self.model.holds[answer.json()["hold"]] = Held(account, kind, amount, price, until_us)

    @precondition(lambda self: self.model.holds)
    @rule(number=st.integers(0, 9), units=st.integers(0, 5))
    def settle(self, number: int, units: int) -> None:
        ticket = self.ticket(number)
        hold = self.model.holds[ticket]
        counted = units if hold.kind == "rows" else 1
        status = self.model.end(ticket, f"settled {counted}", counted * hold.price, self.now_us)
        assert self.ask("settle", hold=ticket, units=counted).status == status

    @precondition(lambda self: self.model.holds)
    @rule(number=st.integers(0, 9))
    def release(self, number: int) -> None:
        ticket = self.ticket(number)
        status = self.model.end(ticket, RELEASED, None, self.now_us)
        assert self.ask("release", hold=ticket).status == status

    def ticket(self, number: int) -> str:
        """One of those that were given, the last of them first."""
        return list(self.model.holds)[-1 - number % len(self.model.holds)]

    def ask(self, verb: str, **body: object) -> Answer:
        headers = {"content-type": "application/json"}
        told = json.dumps(body).encode()
        return self.wait(fetch(self.engine.decide, "POST", f"/authz/v1/{verb}", headers=headers, body=told))

    @rule(seconds=st.sampled_from([1, 30, 4000]))
    def pass_time(self, seconds: int) -> None:
        self.now_us += seconds * 10**6
        self.model.pass_time(self.now_us)
        self.wait(self.reaped())

    async def reaped(self) -> None:
        open = sum(not hold.end for hold in self.model.holds.values())
        await self.work_until(lambda health: health.open_holds <= open)

    async def work_until(self, done: Callable[[StoreHealth], bool]) -> None:
        async with asyncio.timeout(HEALS_S):
            while True:
                await self.engine.foundation.worker.run_once()
                if done(self.engine.foundation.store.health()):
                    return
                self.now_us += 10**6

    @rule()
    def flush(self) -> None:
        self.wait(self.engine.foundation.worker.run_once())

    @rule(number=st.integers(0, 3))
    def revoke(self, number: int) -> None:
        key = self.key(number)
        self.wait(self.engine.office.keys.revoke(key[8:18]))
        self.model.revoked.add(key)

    @rule()
    def reload(self) -> None:
        self.model.price = 3 - self.model.price
        self.write_policy()
        self.wait(self.engine.office.do("policy.reload", {}))

    @rule()
    def crash(self) -> None:
        """Nothing is said to anybody, and another process begins."""
        self.wait(self.vanish())
        if not self.store:
            self.model.forget()
        self.wait(self.open())

    async def vanish(self) -> None:
        at_work, engine = self.engine.foundation, self.engine
        await asyncio.sleep(0)  # what has ended in this turn of the loop is written when it is over
        if engine._socket is not None:
            await engine._socket.stop()
        tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("metergate-")]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await at_work.ledger.run(int)  # a statement that is on its way comes to its end
        joining.abandon(at_work)
        if at_work.shared is not None:
            await at_work.shared.close()

    # -- what is true then ---------------------------------------------------------------------------------

    @invariant()
    def the_store_knows_what_can_be_spent(self) -> None:
        if hasattr(self, "engine"):
            self.wait(self.compare())

    async def compare(self) -> None:
        await self.engine.gate.endings.done()
        for account, credits in self.model.credits.items():
            asked = self.engine.foundation.store.state((AskBudget(f"credits:{account}"),))
            assert await answered(asked) == [credits * DOLLAR], account

    async def prove(self) -> None:
        """Everybody ends; then the ledger has every call, once, at its price."""
        self.now_us += 5 * 3600 * 10**6
        self.model.pass_time(self.now_us)
        await self.reaped()
        await self.work_until(lambda health: health.backlog == 0)
        office = self.engine.office
        assert (await office.do("verify", {}))["differences"] == []
        for account in self.model.credits:
            rows = (await office.do("usage.list", {"account": account, "limit": 1000}))["data"]
            costs = sorted(row["cost"]["nanos"] for row in rows)
            assert costs == sorted(cost * DOLLAR for owner, cost in self.model.billed if owner == account)


def agrees(store: AbstractAsyncContextManager[str], ledger: str, examples: int) -> None:
    """The machine, over a store that is there for all of its examples."""
    with asyncio.Runner() as runner:
        address = runner.run(store.__aenter__())

        class Here(Machine):
            pass

        Here.runner, Here.store, Here.ledger = runner, address, ledger
        given = settings(max_examples=examples, stateful_step_count=30)
        try:
            run_state_machine_as_test(Here, settings=given)
        finally:
            runner.run(store.__aexit__(None, None, None))


@asynccontextmanager
async def at(address: str) -> AsyncIterator[str]:
    yield address


def test_over_the_embedded_store() -> None:
    agrees(at(""), "", 15)


def test_over_a_fake_of_redis(tmp_path: Path, ledger: str) -> None:
    agrees(fake_server(tmp_path), ledger, 4)


def test_over_valkey(valkey_url: str, ledger: str) -> None:
    agrees(at(f"{valkey_url}?takeover=200ms"), ledger, 6)


@pytest.fixture
def ledger(postgres_url: str) -> str:
    made = Ledger.open(postgres_url)
    made.migrate()
    made.close()
    return postgres_url
