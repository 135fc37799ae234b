"""Blocks that go, before anybody called them final and after; on the EVM in this process and on anvil."""

import logging

import pytest

from metergate.provider_port import LOST, PENDING, SUCCEEDED, DisputeFacts, TryAgain
from tests.adapters.web3.world import PRICE, World, everything, there


async def test_what_goes_before_it_is_final_was_never_credited(any_world: World) -> None:
    """And who sends it again has paid."""
    world = any_world
    provider = world.provider(confirmations=3)
    told = await world.checkout(provider, "p1")
    _, cursor = await everything(provider)
    before = await world.snapshot()
    await world.pay(told)
    await world.mine()
    seen = there(await provider.find_payment("p1"))
    assert (seen.state, seen.id, seen.amount) == (PENDING, "p1", PRICE)
    await world.reorganise(before, 6)
    gone = there(await provider.find_payment("p1"))
    assert (gone.state, gone.reason) == (PENDING, "")
    events, cursor = await everything(provider, cursor)
    assert events == []
    await world.pay(told)
    await world.mine(2)
    paid = there(await provider.find_payment("p1"))
    assert (paid.state, paid.disputes) == (SUCCEEDED, ())
    [event] = (await everything(provider, cursor))[0]
    assert there(await provider.fetch_payment(event.object)) == paid


async def test_a_transaction_that_comes_into_another_block_is_the_same_transfer(any_world: World) -> None:
    """Its log has another number there, behind that of somebody else; it is credited once."""
    world = any_world
    provider = world.provider(confirmations=1)
    told = await world.checkout(provider, "p1")
    transfer = await world.written(0, world.usdc, int(told.details["units"]))
    before = await world.snapshot()
    tx = await world.post(transfer)
    paid = there(await provider.find_payment("p1"))
    _, cursor = await everything(provider)
    await world.reorganise(before, 1)
    await world.transfer(world.stranger, world.usdc, 10**6)
    assert await world.post(transfer) == tx
    await world.mine(2)
    again, _ = await everything(provider, cursor)
    mine = [each for each in again if tx in each.object]
    assert mine
    assert [there(await provider.fetch_payment(each.object)) for each in mine] == [paid] * len(mine)
    assert there(await provider.find_payment("p1")) == paid


async def test_what_goes_after_it_was_final_is_a_dispute_that_is_lost(
    any_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Too few confirmations were asked for: the credits go back, and an operator hears of it."""
    world = any_world
    provider = world.provider(confirmations=2)
    told = await world.checkout(provider, "p1")
    before = await world.snapshot()
    tx = await world.pay(told)
    await world.mine()
    paid = there(await provider.find_payment("p1"))
    _, cursor = await everything(provider)
    await world.reorganise(before, 1)
    assert await everything(provider, cursor) == ([], cursor)  # not high enough yet to be the chain
    await world.mine(4)
    with caplog.at_level(logging.ERROR, "metergate.web3"):
        events, cursor = await everything(provider, cursor)
    assert "raise its confirmations" in caplog.text
    assert [(each.type, each.object) for each in events] == [("reorganised", paid.id)]
    gone = there(await provider.fetch_payment(paid.id))
    assert gone.disputes == (DisputeFacts(f"gone:{world.chain}:{tx}:0", PRICE, LOST),)
    assert gone.state == SUCCEEDED  # it was, and the dispute says what became of it
    assert there(await provider.find_payment("p1")) == gone
    assert (await everything(provider, cursor))[0] == []


async def test_what_is_on_its_way_into_another_block_is_not_lost_yet(world: World) -> None:
    """While the new block is not final, or the transaction waits for one, nobody knows."""
    provider = world.provider(confirmations=2)
    told = await world.checkout(provider, "p1")
    transfer = await world.written(0, world.usdc, int(told.details["units"]))
    before = await world.snapshot()
    await world.post(transfer)
    await world.mine()
    paid = there(await provider.find_payment("p1"))
    await world.reorganise(before, 4)
    world.rpc.tamper = lambda method, _, true: {} | {"hash": "0x1"} if method.endswith("ByHash") else true
    with pytest.raises(TryAgain, match="putting its blocks in order"):
        await provider.fetch_payment(paid.id)
    world.rpc.tamper = None
    await world.post(transfer)
    with pytest.raises(TryAgain, match="in another block, which is not final yet"):
        await provider.fetch_payment(paid.id)
    await world.mine()
    assert there(await provider.fetch_payment(paid.id)) == paid
    assert there(await provider.find_payment("p1")) == paid


async def test_a_node_that_forgot_old_transactions_takes_nothing_back(world: World) -> None:
    """Nodes throw receipts away after a year; the block is still the same."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    await world.pay(told)
    paid = there(await provider.find_payment("p1"))
    world.rpc.tamper = lambda method, _, true: None if method.startswith("eth_getTransaction") else true
    assert there(await provider.find_payment("p1")) == paid


async def test_final_is_what_the_chain_calls_so(on_anvil: World) -> None:
    """Anvil finalizes some blocks later: until then a payment is seen, and counts for nothing."""
    world = on_anvil
    provider = world.provider(finality="finalized")
    told = await world.checkout(provider, "p1")
    await world.pay(told)
    block = await world.height()
    states = []
    for _ in range(8):
        final = await world.evm.call("eth_getBlockByNumber", "finalized", False)
        found = there(await provider.find_payment("p1"))
        states.append(found.state)
        assert (found.state == SUCCEEDED) == (int(final["number"], 16) >= block)
        await world.mine()
    assert states[0] == PENDING and states[-1] == SUCCEEDED
    events, _ = await everything(provider)
    assert [there(await provider.fetch_payment(each.object)).order for each in events] == ["p1"]


async def test_a_payer_on_anvil_claims_with_a_signature(on_anvil: World) -> None:
    """The words of a node that is in use, not only those of ours."""
    world = on_anvil
    provider = world.provider(finality="latest")
    assert (await provider.health()).ok
    told = await world.checkout(provider, "p1", token="USDT")
    tx = await world.transfer(world.payer, world.usdt, 20_000_000)
    facts = await provider.claim_payment("p1", tx, world.signed(told.details["sign"]))
    assert (facts.state, facts.amount.minor) == (SUCCEEDED, 2000)
