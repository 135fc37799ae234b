"""What Stripe counts is what the ledger has: through a day without it, by its SDK, and in a whole service."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metergate.billing.windows import MINUTE_US
from metergate.ledger import customers
from metergate.provider_port import Item
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.stripe.bench import Bench, a_bench
from tests.adapters.stripe.fake.metering import reported
from tests.adapters.stripe.fake.store import Json
from tests.adapters.stripe.house import House, a_house
from tests.billing.bench import Books, a_ledger
from tests.billing.usage_bench import HOUR_US, ZERO_US, Told, Use
from tests.waiting import until


class ToldToStripe(Told):
    def __init__(self, books: Books, stripe: Bench, customer: str) -> None:
        super().__init__(books, stripe.stripe)
        self.stripe = stripe
        self.customer = customer

    async def counts(self) -> int:
        span = (ZERO_US - HOUR_US, ZERO_US + 1000 * HOUR_US)
        return await self.stripe.stripe.usage_summary(self.customer, "tokens", *span)


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[ToldToStripe]:
    async with a_bench() as stripe, a_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        books = Books(ledger, stripe.clock, "stripe", stripe.stripe)
        await books.office.accounts.create("acct")
        await stripe.stripe.sync_catalogue([Item("meter", "tokens", "Tokens", currency="USD")])
        customer = await stripe.customer("acct")
        await ledger.write(lambda tx: customers.put(tx, "acct", "stripe", customer, ZERO_US))
        yield ToldToStripe(books, stripe, customer)


async def test_a_day_without_stripe_is_told_afterwards(told: ToldToStripe) -> None:
    fake = told.stripe.fake
    await told.use(Use(3, ZERO_US))
    fake.faults.append(UNANSWERED)
    await told.later(HOUR_US)
    for hour in range(1, 26):
        fake.faults.extend([BROKEN, BUSY] * 20)
        await told.use(Use(10, ZERO_US + hour * HOUR_US), Use(1, ZERO_US + (hour - 1) * HOUR_US))
        await told.later(HOUR_US)
        fake.faults.clear()
    await told.until_done()
    assert await told.counts() == 278
    told.clock.advance(us=HOUR_US)
    await told.agrees()


async def test_a_meter_that_stripe_never_had_is_not_told_and_one_that_it_lost_is_parked(
    told: ToldToStripe,
) -> None:
    """Who only sells packs has no meters at Stripe, and nothing to look after."""
    await told.use(Use(5, ZERO_US), Use(9, ZERO_US, "calls"))
    await told.later(HOUR_US)
    assert [(each.meter, each.state) for each in await told.intents()] == [("tokens", "accepted")]
    await told.agrees()
    await told.stripe.stripe.sync_catalogue([Item("meter", "calls", "Calls", currency="USD")])
    await told.use(Use(4, ZERO_US + HOUR_US, "calls"))
    await told.later(HOUR_US)
    assert [(each.units, each.state) for each in await told.intents()][1:] == [(4, "accepted")]
    await told.agrees()
    for meter in told.stripe.store.all("billing.meter"):
        meter["status"] = "inactive"
    told.pusher = told.a_pusher()
    await told.use(Use(3, ZERO_US + 2 * HOUR_US, "calls"))
    await told.later(HOUR_US)
    assert [(each.units, each.state) for each in await told.intents()][2:] == [(3, "parked")]


async def test_what_stripe_lost_is_found_by_its_summaries(told: ToldToStripe) -> None:
    await told.use(Use(5, ZERO_US), Use(7, ZERO_US + HOUR_US))
    await told.later(2 * HOUR_US)
    [first, _] = await told.intents()
    reported(told.stripe.store, first.identifier, "archived_meter", "The meter is archived.")
    [found] = (await told.reconcile()).differences
    assert (found.expected, found.found) == (5, 0)
    assert "ask again later" in found.advice
    told.clock.advance(us=20 * MINUTE_US)
    assert (await told.reconcile(repair=True)).repaired == 1
    assert await told.counts() == 12
    assert (await told.reconcile(repair=True)).repaired == 0
    await told.agrees()


async def test_calls_of_a_customer_arrive_at_stripes_meters(tmp_path: Path) -> None:
    """From a call over HTTP to a meter event, its summary, a complaint, and the repair of an operator."""
    async with a_house(tmp_path, pushing={"push_window_us": 10**6, "push_every_us": 10**5}) as house:
        ada = await house.customer()
        await house.operator.ok("POST", "/admin/v1/providers/sync", {})
        await house.operator.ok("POST", "/admin/v1/grants", {"account": "ada", "amount": "9.00"})
        await house.buys(ada, amount="5.00")
        for _ in range(4):
            assert (await ada("GET", "/x")).status == 200

        async def accepted() -> bool:
            shown = (await house.operator.ok("GET", "/admin/v1/pushes?account=ada&state=accepted"))["data"]
            return bool(sum(each["units"] for each in shown) == 4)

        await until(accepted)
        assert sum(int(each["payload"]["value"]) for each in events(house)) == 4
        assert await agrees(house)
        gone = events(house)[0]
        reported(house.stripe.store, gone["identifier"], "no_meter", "There was no meter.")
        await house.told()
        [parked] = (await house.operator.ok("GET", "/admin/v1/pushes?state=parked"))["data"]
        assert (parked["detail"], str(parked["units"])) == (
            "no_meter: There was no meter.",
            gone["payload"]["value"],
        )
        assert not await agrees(house)
        repaired = await house.operator.ok("POST", "/admin/v1/reconcile", {"repair": True})
        assert (repaired["ok"], repaired["repaired"]) == (True, 1)
        assert await house.is_proven()


def events(house: House) -> list[Json]:
    return house.stripe.store.all("billing.meter_event")


async def agrees(house: House) -> bool:
    told = await house.operator.ok("POST", "/admin/v1/reconcile", {})
    return bool(told["ok"])
