"""Usage that is pushed, on real parts: rows in a ledger, a pusher, and the sandbox's meters over HTTP."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import NamedTuple

import pytest

from metergate.billing import Counted, Opened, Providers, Pusher, Rule
from metergate.billing.reconciling import Reconciled, reconcile
from metergate.billing.windows import MINUTE_US
from metergate.core.hold import Outcome, Terms, UsageEvent
from metergate.ledger import customers, posting, pushes, subscriptions
from metergate.ledger.pushes import Intent
from metergate.ledger.subscriptions import Subscription
from metergate.ledger.thread import LedgerThread
from metergate.provider_port import Payer, Provider, UsageTotal
from metergate.testing.clock import START_US
from metergate_sandbox import Server
from tests.billing.bench import Bench, Books
from tests.billing.push_crashes import Countdown, MortalSink

HOUR_US = 60 * MINUTE_US
ZERO_US = START_US
"""A midnight from which the stories go on."""
CUSTOMER = "cus_acct"


class Use(NamedTuple):
    units: int
    at_us: int
    meter: str = "tokens"
    account: str = "acct"
    measured: str = "counted"


class Told:
    """Books whose clock begins at a midnight, and a provider that counts usage."""

    def __init__(self, books: Books, provider: Provider) -> None:
        self.books = books
        self.clock = books.clock
        self.window_us = HOUR_US
        self.counted_by = Providers([Opened(books.name, provider, books.name)], [Rule(books.name)])
        self.meters = frozenset({"tokens", "calls"})
        self.pusher = self.a_pusher()
        self._ids = count(1)

    def a_pusher(
        self,
        posted_until: Callable[[int], Awaitable[int]] | None = None,
        *,
        kind: type[Pusher] = Pusher,
        ledger: LedgerThread | None = None,
    ) -> Pusher:
        """A process that pushes; its rounds are not held up by those before."""
        return kind(
            lambda: ledger or self.books.ledger,
            lambda: Counted(self.counted_by, self.meters, self.window_us),
            posted_until or self._posted_until,
            self.clock,
            every_us=MINUTE_US,
            chance=lambda: 1.0,
        )

    async def _posted_until(self, now_us: int) -> int:
        return now_us

    async def use(self, *used: Use) -> None:
        """Calls that were settled and are in the ledger by now."""
        events = [_event(next(self._ids), each) for each in used]
        await self.books.ledger.write(lambda tx: posting.post(tx, events))

    async def subscribe(self, start_us: int, end_us: int) -> None:
        """The provider says which period a subscription is in."""
        row = Subscription(
            "sub", "acct", self.books.name, "sub_1", "growth", "active", False, start_us, end_us, False, 0, 0
        )
        await self.books.ledger.write(lambda tx: subscriptions.put(tx, row))

    async def later(self, pause_us: int = HOUR_US) -> None:
        """Time goes by, and the pusher looks."""
        self.clock.advance(us=pause_us)
        await self.pusher.run_once()

    async def until_done(self) -> None:
        """Rounds, with the pauses that the pusher makes, until nothing waits."""
        for _ in range(200):
            await self.later(10 * MINUTE_US)
            if not self.pusher.numbers()["push_backlog"]:
                return
        pytest.fail(f"Something still waits: {self.pusher.numbers()}")

    async def intents(self) -> list[Intent]:
        found = await self.books.ledger.read(lambda tx: pushes.page(tx, limit=1000))
        return found[::-1]

    async def told(self) -> list[tuple[int, str, int]]:
        return [(each.units, each.state, each.revision) for each in await self.intents()]

    async def reconcile(self, *, repair: bool = False) -> Reconciled:
        return await reconcile(self.pusher, repair=repair)

    async def agrees(self) -> None:
        """The ledger, the intents and the provider say the same, and the proof finds nothing."""
        found = await self.reconcile()
        assert [each.sentence for each in found.differences] == []
        assert await self.books.differences() == []


class Pushing(Told):
    """With the sandbox, and what can happen there."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, bench.provider)
        self.bench = bench

    def through(
        self,
        countdown: Countdown | None = None,
        seen: list[Sequence[UsageTotal]] | None = None,
        lags_us: int = 0,
    ) -> Providers:
        """The sandbox, watched, and perhaps the last thing that somebody sees."""
        watched = MortalSink(self.bench.provider, countdown or Countdown(0), [] if seen is None else seen)
        watched.lags_us = lags_us
        return Providers([Opened("sandbox", watched, "sandbox")], [Rule("sandbox")])

    async def meet(self, account: str = "acct", customer: str = CUSTOMER, since_us: int = ZERO_US) -> None:
        """The provider comes to know an account."""
        self.bench.sandbox.create_customer(Payer(customer.removeprefix("cus_")))
        await self.bench.ledger.write(lambda tx: customers.put(tx, account, "sandbox", customer, since_us))

    async def move_to_another_provider(self) -> Server:
        """From now on the account is another sandbox's, under the same name."""
        server, provider = await self.bench.another_sandbox()
        server.sandbox.create_customer(Payer("acct"))
        opened = Opened("second", provider, "sandbox")
        self.counted_by = Providers([*self.counted_by.all, opened], [Rule("second")])
        now_us = self.clock()
        await self.bench.ledger.write(lambda tx: customers.put(tx, "acct", "second", CUSTOMER, now_us))
        return server

    def counts(
        self, start_us: int = 0, end_us: int = 2**62, meter: str = "tokens", customer: str = CUSTOMER
    ) -> int:
        """What the provider shows."""
        return self.bench.sandbox.usage.summary(customer, meter, start_us, end_us)


def _event(number: int, use: Use) -> UsageEvent:
    terms = Terms(use.account, f"key-{use.account}", "free", "v1", "api", "GET /x", use.meter, "USD", ())
    outcome = Outcome(use.units, (), 0, use.measured, (), terms)
    return UsageEvent(f"use{number}", f"use{number}", use.at_us, "/x", outcome, None, None)
