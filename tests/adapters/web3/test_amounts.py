"""One address for all, so the amount says whose payment it is."""

import re

import pytest

from metergate.errors import InvalidInput
from metergate.provider_port import CANCELED, PENDING, SUCCEEDED, Misconfigured, Money, TryAgain
from metergate_web3.books import WEEK_US
from tests.adapters.web3.world import PRICE, SHOP, World, everything, there


async def test_a_checkout_says_where_and_how_much(world: World) -> None:
    told = await world.checkout(world.provider(), "p1")
    assert told.details["address"] == SHOP
    assert re.fullmatch(r"19\.99\d{1,4}", told.details["amount"])
    assert told.details["units"] == told.details["amount"].replace(".", "").ljust(8, "0")
    assert (told.details["token"], told.details["chain"]) == ("USDC", str(world.chain))
    assert told.url == (
        f"ethereum:{world.usdc.lower()}@{world.chain}/transfer?address={SHOP}&uint256={told.details['units']}"
    )
    assert told.expires_at_us == world.clock() + 24 * 3600 * 10**6


async def test_two_open_orders_of_the_same_price_are_told_apart(world: World) -> None:
    """Whoever pays first, and whichever way it is noticed."""
    provider = world.provider()
    first, second = [await world.checkout(provider, id) for id in ("p1", "p2")]
    assert first.details["units"] != second.details["units"]
    await world.pay(second, who=world.stranger)
    assert there(await provider.find_payment("p1")).state == PENDING
    assert there(await provider.find_payment("p2")).state == SUCCEEDED
    await world.pay(first)
    assert there(await provider.find_payment("p1")).state == SUCCEEDED


async def test_a_round_amount_that_nobody_asked_for_meets_no_order(world: World) -> None:
    """Somebody sends the plain price; it is visible, and nobody's."""
    provider = world.provider()
    for number in range(20):
        await world.checkout(provider, f"p{number}")
    await world.transfer(world.stranger, world.usdc, 19_990_000)
    [event] = (await everything(provider))[0]
    facts = there(await provider.fetch_payment(event.object))
    assert (facts.order, facts.amount) == ("", PRICE)
    assert "19.99 USDC came from 0x" in facts.reason
    states = [there(await provider.find_payment(f"p{number}")).state for number in range(20)]
    assert set(states) == {PENDING}


async def test_amounts_run_out_before_two_payments_share_one(world: World) -> None:
    """A hundred with two decimals more than the currency has: the rest has to wait, and gets no double."""
    tokens = [{"symbol": "T", "address": world.usdc, "decimals": 6, "currency": "CLF"}]
    provider = world.provider(tokens=tokens)
    units: list[str] = []

    async def open_all() -> None:
        for number in range(100):
            told = await world.checkout(provider, f"p{number}", Money(10, "CLF"))
            units.append(told.details["units"])

    with pytest.raises(TryAgain, match="Too many payments of this price"):
        await open_all()
    assert len(set(units)) == len(units) > 30
    assert "1000" not in units  # the plain price is nobody's


async def test_an_amount_is_free_again_two_weeks_later(world: World) -> None:
    """A late payer still meets his own order; then the amount may be another's."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    await world.later(WEEK_US // 10**6)
    await world.pay(told)
    late = there(await provider.find_payment("p1"))
    assert (late.state, late.reason) == (SUCCEEDED, "It was paid after it had expired.")
    await world.later(WEEK_US // 10**6)
    await world.pay(told)
    events, _ = await everything(provider)
    facts = [there(await provider.fetch_payment(each.object)) for each in events]
    assert [each.order for each in facts] == ["p1", ""]


async def test_what_nobody_paid_in_time_is_canceled_and_still_taken(world: World) -> None:
    provider = world.provider()
    told = await world.checkout(provider, "p1", expires_at_us=world.clock() + 3600 * 10**6)
    await world.later(3500)
    assert there(await provider.find_payment("p1")).state == PENDING
    await world.later(200)
    expired = there(await provider.find_payment("p1"))
    assert (expired.state, expired.amount) == (CANCELED, PRICE)
    await world.pay(told)
    assert there(await provider.find_payment("p1")).state == SUCCEEDED


async def test_six_and_eighteen_decimals_are_the_same_money(world: World) -> None:
    provider = world.provider()
    for token, digits in (("USDC", 6), ("DAI", 18)):
        told = await world.checkout(provider, f"in-{token}", token=token)
        assert int(told.details["units"]) // 10**digits == 19
        await world.pay(told)
        assert there(await provider.find_payment(f"in-{token}")).amount == PRICE


async def test_units_of_six_decimals_pay_nothing_in_a_token_of_eighteen(world: World) -> None:
    """Twenty million of the smallest units are 0.00000000002, and no news at all."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    await world.pay(told, token=world.coin18)
    assert await everything(provider) == ([], (await everything(provider))[1])
    assert there(await provider.find_payment("p1")).state == PENDING


async def test_decimals_that_the_contract_denies_refuse_everything(world: World) -> None:
    """Before anybody is asked to pay, and in the health that operators see."""
    tokens = [{"symbol": "DAI", "address": world.coin18, "decimals": 6}]
    provider = world.provider(tokens=tokens)
    with pytest.raises(Misconfigured, match=r"says that it has 18 decimals; the policy gives DAI 6\."):
        await world.checkout(provider, "p1")
    health = await provider.health()
    assert not health.ok and "18 decimals" in health.detail
    assert await provider.find_payment("p1") is None


async def test_a_contract_that_is_none_and_a_node_of_another_chain_are_refused(world: World) -> None:
    nobody = world.provider(tokens=[{"symbol": "X", "address": world.stranger, "decimals": 6}])
    with pytest.raises(Misconfigured, match="no decimals"):
        await world.checkout(nobody, "p1")
    elsewhere = world.provider(id=10)
    with pytest.raises(Misconfigured, match=f"A node of the chain 10 is one of {world.chain}"):
        await world.checkout(elsewhere, "p1")


async def test_a_payer_chooses_the_token_and_the_chain(world: World) -> None:
    provider = world.provider()
    told = await world.checkout(provider, "p1", token=f"usdt:{world.chain}")
    assert told.details["contract"] == world.usdt.lower()
    with pytest.raises(InvalidInput, match=f"Pay with one of USDC:{world.chain}, USDT:"):
        await world.checkout(provider, "p2", token="DOGE")


async def test_a_checkout_that_died_halfway_is_opened_with_another_amount(world: World) -> None:
    """An amount was taken and the order was not written: what comes for it is nobody's."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    await world.notes.forget("order/p1")
    again = await world.checkout(provider, "p1")
    assert again.details["units"] != told.details["units"]
    await world.pay(told)
    assert there(await provider.find_payment("p1")).state == PENDING
    await world.pay(again)
    assert there(await provider.find_payment("p1")).state == SUCCEEDED
