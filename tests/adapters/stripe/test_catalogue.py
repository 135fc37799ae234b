"""The policy as products, prices and meters of Stripe: made once, changed where it changed, found again."""

import pytest

from metergate.errors import InvalidInput
from metergate.provider_port import Item, Money, Synced
from metergate.testing.provider_conformance import UNANSWERED
from tests.adapters.stripe.bench import Bench
from tests.adapters.stripe.fake.store import Json

TOKENS = Item("meter", "tokens", "Tokens", unit_price="2.50", per=1_000_000, currency="USD")
GROWTH = Item("plan", "growth", "Growth", Money(900, "USD"), "month")
SMALL = Item("pack", "small", "Small", Money(500, "JPY"))


async def synced(bench: Bench, *items: Item) -> list[Synced]:
    return list(await bench.stripe.sync_catalogue(items))


def prices(bench: Bench, **facts: object) -> list[Json]:
    return [
        each for each in bench.store.all("price") if all(each[name] == value for name, value in facts.items())
    ]


async def test_what_is_sold_stands_at_stripe_as_it_stands_in_the_policy(bench: Bench) -> None:
    done = await synced(bench, TOKENS, GROWTH, SMALL)
    assert [each.change for each in done] == ["created"] * 3
    [meter] = bench.store.all("billing.meter")
    assert (meter["event_name"], meter["default_aggregation"], meter["event_time_window"]) == (
        "metergate_tokens",
        {"formula": "sum"},
        None,
    )
    [per_token] = prices(bench, lookup_key="metergate:meter:tokens")
    assert (per_token["unit_amount_decimal"], per_token["recurring"]["meter"]) == ("0.00025", meter["id"])
    [plan], [pack] = prices(bench, lookup_key="metergate:plan:growth"), prices(bench, currency="jpy")
    assert (plan["unit_amount"], plan["recurring"]["interval"]) == (900, "month")
    assert (pack["unit_amount"], pack["recurring"]) == (500, None)


async def test_a_changed_price_takes_over_and_one_that_comes_back_is_the_old_one(bench: Bench) -> None:
    [first] = await synced(bench, GROWTH)
    [dearer] = await synced(bench, GROWTH._replace(price=Money(1200, "USD")))
    assert (dearer.change, dearer.id != first.id) == ("updated", True)
    assert [each["id"] for each in prices(bench, active=True)] == [dearer.id]
    [back] = await synced(bench, GROWTH)
    assert (back.change, back.id) == ("updated", first.id)
    [held] = prices(bench, active=True)
    assert (held["id"], held["lookup_key"], len(prices(bench))) == (first.id, "metergate:plan:growth", 2)


async def test_a_changed_price_of_a_unit_and_a_new_title_are_updates(bench: Bench) -> None:
    [first] = await synced(bench, TOKENS)
    [again] = await synced(bench, TOKENS._replace(unit_price="3.00", title="Tokens of all kinds"))
    assert (again.id, again.change) == (first.id, "updated")
    [meter] = bench.store.all("billing.meter")
    [price] = prices(bench, active=True)
    assert (meter["display_name"], price["unit_amount_decimal"]) == ("Tokens of all kinds", "0.0003")
    assert [each["name"] for each in bench.store.all("product")] == ["Tokens of all kinds"]


async def test_what_somebody_put_away_at_stripe_is_taken_out_again(bench: Bench) -> None:
    await synced(bench, TOKENS, GROWTH)
    for each in bench.store.all("product") + bench.store.all("price"):
        each["active"] = False
    [meter] = bench.store.all("billing.meter")
    meter["status"] = "inactive"
    done = await synced(bench, TOKENS, GROWTH)
    assert {each.change for each in done} == {"updated"}
    assert (meter["status"], len(prices(bench, active=True)), len(prices(bench))) == ("active", 2, 2)


async def test_a_sync_that_was_cut_off_goes_on_where_it_was(bench: Bench) -> None:
    for _ in range(4):
        bench.fake.faults.append(UNANSWERED)
        with pytest.raises(Exception, match="did not answer"):
            await synced(bench, TOKENS, GROWTH)
    await synced(bench, TOKENS, GROWTH)
    kinds = ("billing.meter", "product", "price")
    assert [len(bench.store.all(kind)) for kind in kinds] == [1, 2, 2]


async def test_prices_of_others_are_left_alone(bench: Bench) -> None:
    await synced(bench, GROWTH)
    [ours] = prices(bench)
    theirs = bench.store.objects["price_theirs"] = {
        **ours,
        "id": "price_theirs",
        "metadata": {},
        "lookup_key": None,
    }
    [again] = await synced(bench, GROWTH)
    assert (again.change, theirs["active"]) == ("unchanged", True)


async def test_a_price_that_stripe_cannot_say_exactly_stops_the_sync_before_it_begins(bench: Bench) -> None:
    thirds = TOKENS._replace(unit_price="1", per=3)
    with pytest.raises(InvalidInput, match="Round the price of the meter tokens"):
        await synced(bench, GROWTH, thirds)
    assert bench.store.all("product") == []


async def test_a_meter_without_one_price_is_listed_without_a_price(bench: Bench) -> None:
    await synced(bench, Item("meter", "rows", "Rows", currency="USD"))
    assert (len(bench.store.all("billing.meter")), prices(bench)) == (1, [])


async def test_names_that_stripe_would_not_take_are_digested(bench: Bench) -> None:
    odd = GROWTH._replace(name="groß & stark")
    first, again = await synced(bench, odd), await synced(bench, odd)
    assert (first[0].id, again[0].change) == (again[0].id, "unchanged")
