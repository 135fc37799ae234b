"""A payer names a transaction. What is not exact to the last digit needs the signature of who sent it."""

import json
import subprocess
import sys

import pytest

from metergate.errors import InvalidInput
from metergate.provider_port import PENDING, SUCCEEDED, Money
from metergate_web3 import Web3Provider
from tests.adapters.web3.world import PRICE, World, everything, there

NOBODY = "0x" + "ab" * 32


async def refused(provider: Web3Provider, order: str, tx: str, signature: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        await provider.claim_payment(order, tx, signature)


async def test_the_exact_amount_needs_no_signature(world: World) -> None:
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    tx = await world.pay(told)
    facts = await provider.claim_payment("p1", tx.upper().replace("0X", "0x"), "")
    assert (facts.state, facts.order, facts.amount) == (SUCCEEDED, "p1", PRICE)
    assert await provider.claim_payment("p1", tx, "") == facts
    assert facts.id == f"{world.chain}:{tx}:0"
    assert facts.method is not None
    assert (facts.method.type, facts.method.brand) == ("crypto", "USDC")
    assert facts.method.last4 == world.payer[-4:].lower()


async def test_a_strangers_transfer_is_not_to_be_had(world: World) -> None:
    """Neither by naming it, nor with a signature of one's own."""
    provider = world.provider()
    mine, theirs = [await world.checkout(provider, id) for id in ("mine", "theirs")]
    for tx in (
        await world.pay(theirs, who=world.stranger),
        await world.transfer(world.stranger, world.usdc, 19_990_000),
    ):
        await refused(provider, "mine", tx, "", "does not pay the exact amount: sign")
        own = world.signed(mine.details["sign"])
        await refused(provider, "mine", tx, own, "did not send this transfer")
        of_another_order = world.signed(theirs.details["sign"], who=1)
        await refused(provider, "mine", tx, of_another_order, "did not send this transfer")
    assert there(await provider.find_payment("mine")).state == PENDING
    assert there(await provider.find_payment("theirs")).state == SUCCEEDED


async def test_who_sent_it_can_sign_for_another_amount(world: World) -> None:
    """More than was asked for is all credited; which order, chain and address, stands in the text."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    text = told.details["sign"]
    assert text == f"I paid the order p1 on the chain {world.chain} to {told.details['address']}."
    tx = await world.transfer(world.payer, world.usdc, 25_000_000)
    facts = await provider.claim_payment("p1", tx, world.signed(text))
    assert (facts.state, facts.amount) == (SUCCEEDED, Money(2500, "USD"))
    assert facts.reason == "More was paid than was asked for, and all of it counts."
    assert there(await provider.find_payment("p1")) == facts


async def test_too_little_stays_visible_and_free(world: World) -> None:
    """The order says what came; the payer can open one of that size, and claim it there."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    tx = await world.transfer(world.payer, world.usdc, 15_000_000)
    facts = await provider.claim_payment("p1", tx, world.signed(told.details["sign"]))
    assert (facts.order, facts.amount, facts.reason) == ("p1", Money(1500, "USD"), "It pays 1500 of 1999.")
    assert there(await provider.find_payment("p1")) == facts
    await refused(provider, "p1", tx, "", "does not pay the exact amount")
    smaller = await world.checkout(provider, "p2", Money(1500, "USD"))
    facts = await provider.claim_payment("p2", tx, world.signed(smaller.details["sign"]))
    assert (facts.order, facts.state) == ("p2", SUCCEEDED)
    assert there(await provider.find_payment("p1")).state == PENDING


async def test_a_transfer_pays_one_order_for_ever(world: World) -> None:
    provider = world.provider()
    first, second = [await world.checkout(provider, id) for id in ("p1", "p2")]
    tx = await world.pay(first)
    await provider.claim_payment("p1", tx, "")
    signature = world.signed(second.details["sign"])
    await refused(provider, "p2", tx, signature, "credited already, or this payment was paid by another")
    await refused(world.provider(), "p2", f"{tx}:0", signature, "credited already")
    assert there(await provider.find_payment("p2")).state == PENDING


async def test_an_order_is_paid_by_one_transfer(world: World) -> None:
    """Who pays twice is told so, and may use the second transfer for another order."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    first, second = [await world.pay(told) for _ in range(2)]
    paid = await provider.claim_payment("p1", first, "")
    await refused(provider, "p1", second, "", "this payment was paid by another one")
    assert there(await provider.find_payment("p1")).id == paid.id
    twice = there(await provider.fetch_payment(f"{world.chain}:{second}:0"))
    assert (twice.order, twice.id) == ("p1", f"{world.chain}:{second}:0")  # what the inbox refuses, visibly
    await world.later(60)
    other = await world.checkout(provider, "p2")
    third = await world.pay(told)
    facts = await provider.claim_payment("p2", third, world.signed(other.details["sign"]))
    assert (facts.order, facts.state) == ("p2", SUCCEEDED)


async def test_two_transfers_of_one_transaction_pay_two_orders(world: World) -> None:
    provider = world.provider()
    first, second = [await world.checkout(provider, id) for id in ("p1", "p2")]
    tx = await world.both(world.usdc, *(int(each.details["units"]) for each in (first, second)))
    assert (await provider.claim_payment("p2", tx, "")).id.startswith(f"{world.chain}:{tx}:")
    events, _ = await everything(provider)
    facts = [there(await provider.fetch_payment(each.object)) for each in events]
    assert [(each.order, each.state) for each in facts] == [("p1", SUCCEEDED), ("p2", SUCCEEDED)]
    assert len({each.id for each in facts}) == 2


async def test_of_several_transfers_the_payer_says_which(world: World) -> None:
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    tx = await world.both(world.usdt, 20_000_000, 30_000_000)
    signature = world.signed(told.details["sign"])
    await refused(provider, "p1", tx, signature, f"name one of them, {tx}:0 or {tx}:1")
    facts = await provider.claim_payment("p1", f"{tx}:1", signature)
    assert (facts.amount, facts.id) == (Money(3000, "USD"), f"{world.chain}:{tx}:1")
    await refused(provider, "p1", f"{tx}:7", signature, "sends no accepted token")


async def test_what_was_sent_before_an_order_needs_a_signature(world: World) -> None:
    """Also where it is the exact amount: who opens order after order may not meet it by chance."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    await world.notes.forget("order/p1")
    tx = await world.pay(told)
    await world.later(60)
    again = await world.checkout(provider, "p1")
    asked = await provider._books.record("p1")
    assert asked is not None
    same = asked._replace(units=int(told.details["units"]))
    await world.notes.write("order/p1", json.dumps(same))
    await refused(provider, "p1", tx, "", "does not pay the exact amount")
    assert there(await provider.find_payment("p1")).state == PENDING
    facts = await provider.claim_payment("p1", tx, world.signed(again.details["sign"]))
    assert (facts.state, facts.amount) == (SUCCEEDED, PRICE)


async def test_what_is_older_than_all_orders_is_nobodys(world: World) -> None:
    """Whoever paid the owner of the address for something else, long ago, has no credits to claim."""
    provider = world.provider()
    tx = await world.transfer(world.payer, world.usdc, 19_990_000)
    await world.later(60)
    told = await world.checkout(provider, "p1")
    signature = world.signed(told.details["sign"])
    await refused(provider, "p1", tx, signature, "older than anything that was asked for here")


async def test_what_no_block_has_is_tried_again_later(world: World) -> None:
    provider = world.provider()
    await world.checkout(provider, "p1")
    await refused(provider, "p1", NOBODY, "", f"has no transaction {NOBODY} in a block")


@pytest.mark.parametrize("text", ["", "0x12", "f" * 64, f"{NOBODY}:x", f"x:{NOBODY}"])
async def test_what_is_no_transaction_is_said_so(world: World, text: str) -> None:
    provider = world.provider()
    await world.checkout(provider, "p1")
    await refused(provider, "p1", text, "", "Name a transaction by its hash")


async def test_what_is_no_signature_is_said_so(world: World) -> None:
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    tx = await world.transfer(world.payer, world.usdc, 20_000_000)
    good = world.signed(told.details["sign"])
    for signature, said in (
        ("yes", "Give a signature as personal_sign makes it"),
        (good[:-2], "Give a signature"),
        ("0x" + "00" * 65, "The signature is none"),
        ("0x" + "ff" * 65, "The signature is none"),
        (good[:-2] + "05", "The signature is none"),
    ):
        await refused(provider, "p1", tx, signature, said)
    assert (await provider.claim_payment("p1", tx, good)).state == SUCCEEDED


async def test_claims_of_orders_and_chains_that_nobody_knows(world: World) -> None:
    provider = world.provider()
    await refused(provider, "nobody", NOBODY, "", "cannot be paid on this chain")
    await world.checkout(provider, "p1")
    await refused(provider, "p1", f"999:{NOBODY}", "", "cannot be paid on this chain")


async def test_a_claim_before_it_is_final_counts_when_it_is(world: World) -> None:
    """Nobody has to claim it twice."""
    provider = world.provider(confirmations=3)
    told = await world.checkout(provider, "p1")
    tx = await world.transfer(world.payer, world.usdc, 20_000_000)
    facts = await provider.claim_payment("p1", tx, world.signed(told.details["sign"]))
    assert (facts.state, facts.id) == (PENDING, "p1")
    assert "counts as soon as the block" in facts.reason
    await world.mine()
    assert there(await provider.find_payment("p1")).state == PENDING
    await world.mine()
    assert there(await provider.find_payment("p1")).state == SUCCEEDED


async def test_a_credit_that_was_written_by_half_is_the_same_credit(world: World) -> None:
    """Who died after taking the transfer, and before saying so of the order."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    await world.pay(told)
    paid = there(await provider.find_payment("p1"))
    await world.notes.forget("paid/p1")
    assert there(await provider.find_payment("p1")) == paid
    assert await world.notes.read("paid/p1") == paid.id


async def test_who_lets_another_send_it_has_paid_himself(world: World) -> None:
    """EIP-3009: the payer signs, somebody else pays for the transaction, and gets nothing for it."""
    provider = world.provider()
    told, other = [await world.checkout(provider, id) for id in ("p1", "p2")]
    tx = await world.authorised(who=0, sender=world.stranger, units=20_000_000)
    await refused(
        provider, "p2", tx, world.signed(other.details["sign"], who=1), "did not send this transfer"
    )
    facts = await provider.claim_payment("p1", tx, world.signed(told.details["sign"]))
    assert (facts.state, facts.amount) == (SUCCEEDED, Money(2000, "USD"))


async def test_who_signed_an_exact_transfer_away_has_not_paid_the_order_that_asked_for_it(
    world: World,
) -> None:
    provider = world.provider()
    asked, wanted = [await world.checkout(provider, id) for id in ("asked", "wanted")]
    tx = await world.pay(asked)
    facts = await provider.claim_payment("wanted", tx, world.signed(wanted.details["sign"]))
    assert (facts.order, facts.state) == ("wanted", SUCCEEDED)
    assert there(await provider.find_payment("asked")).state == PENDING
    [event] = (await everything(provider))[0]
    assert there(await provider.fetch_payment(event.object)).order == "wanted"


def test_to_read_a_signature_leaves_the_bound_of_recursion_as_it_was() -> None:
    """Libraries of chains raise it so far that nested JSON would overflow the stack, which ends a process."""
    code = """
import asyncio, sys
from metergate.errors import InvalidInput
from metergate_web3.claims import signer
before = sys.getrecursionlimit()
try:
    asyncio.run(signer("text", "0x" + "00" * 65))
except InvalidInput:
    assert "eth_account" in sys.modules
    sys.exit(sys.getrecursionlimit() != before)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
