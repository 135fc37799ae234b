"""Alerts on balance and spend: told once per crossing, again after it was mended, to nobody else."""

import asyncio
from typing import Any

import pytest

from metergate.errors import InvalidInput
from metergate.ledger import chain
from metergate.ledger.posting import post
from metergate.worker.chaining import Chaining
from tests.billing.bench import Bench
from tests.billing.selfpaying import DAY_US, HOUR_US, SelfPaying
from tests.ledger.calls import USD, call

LOW = {"balance": ["5.00", "1.00"]}


class Watched(SelfPaying):
    async def begin(self, credits: str = "10.00") -> None:
        await self.office.credits.grant("acct", credits, id="first")
        url = {"url": "http://localhost:9/", "types": ["credits.low", "spend.threshold"]}
        await self.office.endpoints.create(**url)
        await self.look()

    async def look(self) -> None:
        self.clock.advance(us=6 * 10**6)
        await self.alerts.run_once()

    async def use(self, dollars: int, account: str = "acct", ago_us: int = 0) -> None:
        """Usage in the ledger, and a chain that has closed it."""
        event = call(account, dollars * USD, at_us=self.clock() - ago_us)
        await self.bench.ledger.write(lambda tx: post(tx, [event]))
        await Chaining(self.bench.ledger, self.clock).finish()

    async def low(self) -> list[str]:
        return [each["threshold"]["amount"] for each in await self.told("credits.low")]

    async def spent(self) -> list[tuple[str, str, str]]:
        told = await self.told("spend.threshold")
        return [(each["account"], each["threshold"]["amount"], each["every"]) for each in told]


async def test_a_balance_that_falls_is_told_once_and_again_after_it_was_mended(any_bench: Bench) -> None:
    watched = Watched(any_bench, alerts=LOW)
    await watched.begin()
    await watched.spend("5.00")
    await watched.look()
    assert await watched.low() == []  # at the threshold is not below it
    await watched.spend("0.01")
    for _ in range(3):
        await watched.look()
    assert await watched.low() == ["5.00"]
    (told,) = await watched.told("credits.low")
    assert (told["account"], told["balance"]["amount"]) == ("acct", "4.99")
    await watched.spend("4.50")
    await watched.look()
    assert await watched.low() == ["5.00", "1.00"]
    await watched.office.credits.grant("acct", "2.00", id="mends-one-of-them")
    await watched.look()
    await watched.spend("2.00")
    await watched.look()
    assert await watched.low() == ["5.00", "1.00", "1.00"]


async def test_who_never_had_so_much_is_told_nothing(bench: Bench) -> None:
    watched = Watched(bench, alerts=LOW)
    await watched.begin("3.00")
    await watched.office.accounts.create("empty")
    await watched.look()
    await watched.spend("2.50")
    await watched.look()
    assert await watched.low() == ["1.00"]


async def test_many_workers_tell_once(any_bench: Bench) -> None:
    watched = Watched(any_bench, alerts={**LOW, "spend": [{"amount": "2.00"}]})
    await watched.begin()
    await watched.use(8)
    watched.clock.advance(us=HOUR_US)
    await asyncio.gather(*(Watched(any_bench, alerts=LOW).alerts.look() for _ in range(8)))
    many = [Watched(any_bench, alerts={"spend": [{"amount": "2.00"}]}) for _ in range(8)]
    await asyncio.gather(*(each.alerts.look() for each in many))
    assert await watched.low() == ["5.00"]
    assert await watched.spent() == [("acct", "2.00", "month")]


async def test_an_account_with_thresholds_of_its_own_has_no_others(bench: Bench) -> None:
    watched = Watched(bench, alerts=LOW)
    await watched.office.alerts.set("acct", balance=["8.00"])
    await watched.office.accounts.create("other")
    await watched.office.credits.grant("other", "10.00", id="others")
    await watched.begin()
    for account in ("acct", "other"):
        await watched.office.credits.adjust(account, "-6.00", "used")
    await watched.look()
    told = {each["account"]: each["threshold"]["amount"] for each in await watched.told("credits.low")}
    assert told == {"acct": "8.00", "other": "5.00"}
    shown = await watched.office.alerts.reset("acct")
    assert [each["amount"] for each in shown["balance"]] == ["1.00", "5.00"]
    await watched.office.alerts.set("acct", balance=[])
    await watched.spend("3.50")
    await watched.look()
    assert len(await watched.low()) == 2


async def test_what_was_spent_in_a_period_is_told_once_in_each(any_bench: Bench) -> None:
    watched = Watched(any_bench, alerts={"spend": [{"amount": "10.00"}, {"amount": "3.00", "every": "day"}]})
    await watched.begin("100.00")
    await watched.use(2)
    await watched.look()
    assert await watched.spent() == []
    await watched.use(1)
    await watched.look()
    await watched.use(1)
    await watched.look()
    assert await watched.spent() == [("acct", "3.00", "day")]
    watched.clock.advance(us=DAY_US)
    await watched.use(6)
    await watched.look()
    assert await watched.spent() == [
        ("acct", "3.00", "day"),
        ("acct", "3.00", "day"),
        ("acct", "10.00", "month"),
    ]
    told = (await watched.told("spend.threshold"))[-1]
    assert (told["spent"]["amount"], told["since"]) == ("10.00", "2026-01-01T00:00:00Z")
    watched.clock.advance(us=31 * DAY_US)
    await watched.use(2)
    await watched.look()
    assert len(await watched.spent()) == 3


async def test_usage_that_comes_late_counts_where_it_was_and_nothing_counts_twice(bench: Bench) -> None:
    watched = Watched(bench, alerts={"spend": [{"amount": "5.00", "every": "day"}]})
    await watched.begin("100.00")
    watched.clock.advance(us=DAY_US)
    await watched.use(3)
    await watched.use(4, ago_us=DAY_US)
    await watched.look()
    await watched.look()
    assert await watched.spent() == []
    await watched.use(1, ago_us=DAY_US)
    await watched.look()
    (told,) = await watched.told("spend.threshold")
    assert (told["spent"]["amount"], told["since"]) == ("5.00", "2026-01-01T00:00:00Z")


async def test_what_the_chain_has_not_closed_is_not_counted_yet(bench: Bench) -> None:
    """Behind a row that is counted another may still appear, until the chain has closed what is before it."""
    watched = Watched(bench, alerts={"spend": [{"amount": "1.00"}]})
    await watched.begin()
    event = call("acct", 2 * USD, at_us=watched.clock())
    await bench.ledger.write(lambda tx: post(tx, [event]))
    await watched.look()
    assert await watched.spent() == []
    assert await bench.ledger.read(lambda tx: chain.head(tx).link) == 0
    await Chaining(bench.ledger, watched.clock).finish()
    await watched.look()
    assert len(await watched.spent()) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"balance": "5.00"},
        {"balance": [5.0]},
        {"balance": ["-1.00"]},
        {"balance": ["1.00"] * 11},
        {"spend": ["5.00/hour"]},
        {"spend": [{"every": "day"}]},
        {"spend": [{"amount": "0"}]},
        {"spend": [{"amount": "1.00", "else": 1}]},
    ],
)
async def test_thresholds_that_say_nothing_are_refused(bench: Bench, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await SelfPaying(bench).office.alerts.set("acct", **settings)
