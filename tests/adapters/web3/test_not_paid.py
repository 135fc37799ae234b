"""What looks like a payment and is none."""

import pytest

from metergate.errors import InvalidInput
from metergate.provider_port import PENDING, SUCCEEDED, Money
from tests.adapters.web3.world import PRICE, SHOP, World, everything, there


async def unpaid(world: World, tx: str, said: str) -> None:
    """Nobody believes this transaction: not the feed, not a look-up, not a claim."""
    provider = world.provider()
    assert [each.object for each in (await everything(provider))[0]] == []
    assert there(await provider.find_payment("p1")).state == PENDING
    with pytest.raises(InvalidInput, match=said):
        await provider.claim_payment("p1", tx, "")


async def test_a_token_that_nobody_listed(world: World) -> None:
    """It emits the same event, with the exact amount, to the right address."""
    told = await world.checkout(world.provider(), "p1")
    await unpaid(world, await world.pay(told, token=world.fake), "sends no accepted token to")


async def test_the_wrong_recipient(world: World) -> None:
    told = await world.checkout(world.provider(), "p1")
    await unpaid(world, await world.pay(told, to=world.stranger), "sends no accepted token to")


async def test_a_status_without_a_transfer(world: World) -> None:
    """The transaction went well; it only allowed something."""
    told = await world.checkout(world.provider(), "p1")
    tx = await world.send(
        world.payer, world.usdc, "approve(address,uint256)", SHOP, int(told.details["units"])
    )
    await unpaid(world, tx, "sends no accepted token to")


async def test_a_transfer_that_was_reverted(world: World) -> None:
    told = await world.checkout(world.provider(), "p1")
    await unpaid(
        world, await world.pay(told, who=world.accounts[5]), "failed on the chain .* and moved nothing"
    )


async def test_a_transfer_without_a_status(world: World) -> None:
    """A node shows the log of a transaction of which the receipt says that it failed, or says nothing."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    tx = await world.pay(told)
    for status in ("0x0", None):
        world.rpc.tamper = lambda method, _, true, status=status: (
            {**true, "status": status} if method == "eth_getTransactionReceipt" else true
        )
        assert (await everything(provider))[0] == []
        with pytest.raises(InvalidInput, match="failed on the chain"):
            await provider.claim_payment("p1", tx, "")
    world.rpc.tamper = None
    assert there(await provider.find_payment("p1")).state == SUCCEEDED


async def test_a_log_that_was_removed(world: World) -> None:
    told = await world.checkout(world.provider(), "p1")
    tx = await world.pay(told)

    def removed(method: str, params: list[object], true: object) -> object:
        if method == "eth_getLogs" and isinstance(true, list):
            return [{**each, "removed": True} for each in true]
        if method == "eth_getTransactionReceipt" and isinstance(true, dict):
            return {**true, "logs": [{**each, "removed": True} for each in true["logs"]]}
        return true

    world.rpc.tamper = removed
    await unpaid(world, tx, "sends no accepted token to")


async def test_a_receipt_of_another_transaction(world: World) -> None:
    """A node answers with what it was not asked for."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    paid = await world.pay(told)
    other = await world.transfer(world.stranger, world.usdc, 5_000_000)
    true = await world.evm.call("eth_getTransactionReceipt", paid)
    world.rpc.tamper = lambda method, _, told: true if method == "eth_getTransactionReceipt" else told
    with pytest.raises(InvalidInput, match="failed on the chain"):
        await provider.claim_payment("p1", other, "")


async def test_a_receipt_from_a_block_that_the_chain_does_not_have(world: World) -> None:
    """The node remembers a block that went, and has another one at its height."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    tx = await world.pay(told)
    gone = "0x" + "cd" * 32
    world.rpc.tamper = lambda method, _, true: (
        {**true, "blockHash": gone} if method == "eth_getTransactionReceipt" else true
    )
    assert there(await provider.find_payment("p1")).state == PENDING
    with pytest.raises(InvalidInput, match="has no transaction"):
        await provider.claim_payment("p1", tx, "")


async def test_nothing_and_dust_are_no_news(world: World) -> None:
    """Strangers send them in masses, so that an address of theirs stands in lists."""
    provider = world.provider()
    await world.checkout(provider, "p1")
    for units in (0, 1, 9_999):
        await world.transfer(world.stranger, world.usdc, units)
    assert (await everything(provider))[0] == []
    await world.transfer(world.stranger, world.usdc, 10_000)
    assert len((await everything(provider))[0]) == 1


async def test_tokens_like_usdt_pay_without_a_result_and_count_what_arrived(world: World) -> None:
    provider = world.provider()
    told = await world.checkout(provider, "p1", token="USDT")
    await world.pay(told)
    assert there(await provider.find_payment("p1")).amount == PRICE
    await world.send(world.payer, world.usdt, "setFee(uint256)", 100)  # one per cent
    told = await world.checkout(provider, "p2", token="USDT")
    await world.pay(told)
    assert there(await provider.find_payment("p2")).state == PENDING
    facts = [there(await provider.fetch_payment(each.object)) for each in (await everything(provider))[0]]
    assert [(each.order, each.amount) for each in facts] == [("p1", PRICE), ("", Money(1979, "USD"))]
