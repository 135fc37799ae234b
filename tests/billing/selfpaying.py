"""An account that pays by itself: a bench with a till, a policy for top-ups, and workers that may die."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from metergate.admin import Office
from metergate.admin.desk import Hooks
from metergate.billing import (
    Addresses,
    Alerts,
    Cashier,
    Counted,
    Opened,
    Providers,
    Pusher,
    Rule,
    Till,
    TopUps,
)
from metergate.config import load
from metergate.ledger import notices
from metergate.ledger.database import Ledger, Tx
from metergate.ledger.payments import Payment
from metergate.ledger.thread import LedgerThread
from tests.billing.bench import POLICY, Bench

T = TypeVar("T")
MINUTE_US = 60 * 10**6
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


class Killed(Exception):
    """The process is gone, in the middle of whatever it did."""


class Dying(LedgerThread):
    """A way to the ledger whose process dies at one of its steps, before or after the step is done."""

    def __init__(self, ledger: Ledger, at: int, *, after: bool) -> None:
        super().__init__(ledger)
        self.steps = 0
        self._at = at
        self._after = after

    async def run(self, work: Callable[[], T]) -> T:
        self.steps += 1
        if self.steps > self._at or (self.steps == self._at and not self._after):
            raise Killed
        done = await super().run(work)
        if self.steps == self._at:
            raise Killed
        return done

    def bury(self) -> None:
        """The ledger itself belongs to the bench."""
        self._thread.shutdown(wait=True)


def _nothing_is_pushed() -> Counted:
    return Counted(Providers(), frozenset(), HOUR_US)


async def _all_posted(until_us: int) -> int:
    """No call is on its way: what these stories use is in the ledger already."""
    return until_us


class SelfPaying:
    def __init__(self, bench: Bench, **policy: Any) -> None:
        self.bench = bench
        self.clock = bench.clock
        self.policy = load({**POLICY, "packs": {"small": {"credits": "6.00", "price": "5.00"}}, **policy})
        self._providers = Providers([Opened("sandbox", bench.provider, "sandbox")], [Rule("sandbox")])
        self.office, self.top_ups = self.worker(bench.ledger)
        self.alerts = Alerts(lambda: bench.ledger, lambda: self.policy, bench.clock)

    def worker(self, ledger: LedgerThread) -> tuple[Office, TopUps]:
        """One more process that looks after top-ups."""
        cashier = Cashier(
            lambda: office.desk,
            lambda: self._providers,
            self.clock,
            shared=False,
            brakes=lambda: self.policy.brakes,
        )
        till = Till(
            cashier,
            self.bench.inbox,
            lambda: self.policy,
            lambda: Addresses("", ()),
            lambda: None,
            Pusher(lambda: ledger, _nothing_is_pushed, _all_posted, self.clock),
        )
        hooks = Hooks(till=till)
        store, peppers = self.bench.store, {1: b"pepper"}
        office = Office(ledger, store, lambda: self.policy, self.clock, peppers, hooks=hooks)
        return office, TopUps(cashier, lambda: self.policy)

    async def sign_up(self, credits: str = "10.00", token: str = "tok_visa", **settings: str) -> None:
        """Some credits, a card, and a wish to pay by itself."""
        await self.office.credits.grant("acct", credits, id="first")
        if token:
            await self.office.payments.attach("acct", token)
        await self.office.top_ups.set("acct", **settings)
        endpoint = {"url": "http://localhost:9/", "types": ["topup.*", "credits.low", "spend.threshold"]}
        await self.office.endpoints.create(**endpoint)

    async def spend(self, amount: str) -> None:
        await self.office.credits.adjust("acct", f"-{amount}", "used")

    async def rounds(self, number: int = 3) -> None:
        for _ in range(number):
            await self.top_ups.run_once()

    async def pass_time(self, us: int, step_us: int = 5 * MINUTE_US) -> None:
        """Let time pass while the worker looks now and then."""
        for _ in range(us // step_us):
            self.clock.advance(us=step_us)
            await self.top_ups.run_once()
            await self.bench.rounds.run_once()

    async def state(self) -> dict[str, Any]:
        return dict(await self.office.top_ups.show("acct"))

    async def balance(self) -> str:
        return str((await self.office.credits.show("acct"))["balance"]["amount"])

    async def paid(self) -> list[Payment]:
        return [each for each in await self.bench.payments() if each.state == "succeeded"]

    @property
    def charged(self) -> list[int]:
        """What the provider says that it took."""
        return [
            each.amount.minor for each in self.bench.sandbox.payments.values() if each.state == "succeeded"
        ]

    async def told(self, type: str) -> list[dict[str, Any]]:
        """The data of what was told, the oldest first."""

        def work(tx: Tx) -> list[dict[str, Any]]:
            return [json.loads(each.body)["data"] for each in reversed(notices.page(tx, type=type))]

        return await self.bench.ledger.read(work)
