"""Tokens become calls: a metered app, its API over HTTP, its ledger, and a chain."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metergate import MeterGate
from metergate.config.settings import Settings
from metergate.testing.asgi import lifespan
from metergate_web3 import Web3Provider
from tests.adapters.web3.world import World, there
from tests.api.client import Client, problem
from tests.billing.bench import POLICY
from tests.billing.shop import Shop, hello


class Wallets(Shop):
    def __init__(self, app: MeterGate, world: World) -> None:
        super().__init__(app)
        self.world = world

    async def send(self, payment: dict[str, Any], who: str = "", more: int = 0) -> str:
        """The payer's wallet does what the checkout says."""
        told = payment["details"]
        units = int(told["units"]) + more
        return await self.world.transfer(who or self.world.payer, told["contract"], units, told["address"])

    async def look(self) -> None:
        """What the worker does when it is time: read the chain, then handle what came."""
        money = self.app.engine.money
        for opened in money.providers.all:
            await money.inbox.fetch(opened)
        while await money.inbox.handle_some():
            pass

    async def events(self, state: str) -> list[Any]:
        found: list[Any] = (await self.operator.ok("GET", f"/admin/v1/webhooks?state={state}"))["data"]
        return found


async def balance(customer: Client) -> str:
    return str((await customer.ok("GET", "/billing/v1/credits"))["balance"]["amount"])


async def bought(customer: Client, amount: str = "5.00", token: str = "USDC") -> dict[str, Any]:
    made: dict[str, Any] = await customer.ok(
        "POST", "/billing/v1/checkout", {"amount": amount, "token": token}
    )
    return made


async def claim(customer: Client, payment: dict[str, Any], tx: str, signature: str = "") -> Any:
    told = {"transaction": tx, **({"signature": signature} if signature else {})}
    return await customer("POST", f"/billing/v1/payments/{payment['id']}/claim", told)


@pytest.fixture
async def shop(world: World, tmp_path: Path) -> AsyncIterator[Wallets]:
    chain = {**world.options()["chains"][0], "confirmations": 2}
    del chain["rpc"]
    policy = {**POLICY, "provider": "web3", "web3": {"chains": [chain]}}
    settings = Settings(data=tmp_path / "data", worker=False, environ={"WEB3_RPC_URL": world.rpc.url})
    app = MeterGate(hello, policy, settings=settings)
    async with lifespan(app):
        made = Wallets(app, world)
        yield made
        assert (await app.engine.office.books.verify())["ok"]


async def test_a_402_leads_to_an_address_and_paying_there_to_a_200(shop: Wallets) -> None:
    ada = await shop.customer("ada")
    refused = await ada("GET", "/x")
    assert refused.status == 402
    payment = await ada.ok("POST", problem(refused)["top_up_url"], {"amount": "5.00", "token": "USDT"})
    assert payment["url"].startswith("ethereum:0x")
    assert (payment["state"], payment["details"]["token"]) == ("pending", "USDT")
    await shop.send(payment)
    seen = await ada.ok("GET", f"/billing/v1/payments/{payment['id']}")
    assert (seen["state"], seen["paid"]) == ("pending", None)
    assert (await ada("GET", "/x")).status == 402
    await shop.world.mine()
    paid = await ada.ok("GET", f"/billing/v1/payments/{payment['id']}")
    assert (paid["state"], paid["paid"]["amount"]) == ("succeeded", "5.00")
    assert paid["method"] == {"type": "crypto", "brand": "USDT", "last4": shop.world.payer[-4:].lower()}
    assert (await ada("GET", "/x")).status == 200
    assert await balance(ada) == "4.00"


async def test_however_often_it_is_noticed_it_is_credited_once(shop: Wallets) -> None:
    """The worker, the payer who looks, many claims at once, and a feed that begins again."""
    ada = await shop.customer("ada")
    payment = await bought(ada)
    tx = await shop.send(payment)
    await shop.world.mine()
    path = f"/billing/v1/payments/{payment['id']}"
    answers = await asyncio.gather(
        *(claim(ada, payment, tx) for _ in range(10)), *(ada("GET", path) for _ in range(5)), shop.look()
    )
    assert {each.status for each in answers if each is not None} == {200}
    await shop.look()
    [event] = await shop.events("done")
    await shop.operator.ok("POST", "/admin/v1/webhooks/replay", {"id": event["id"]})
    await shop.look()
    assert await balance(ada) == "5.00"


async def test_a_process_that_died_between_the_chain_and_the_ledger_loses_nothing(shop: Wallets) -> None:
    """What the adapter had taken for a payment is still that payment's when somebody looks again."""
    ada = await shop.customer("ada")
    payment = await bought(ada)
    await shop.send(payment)
    await shop.world.mine()
    [opened] = shop.app.engine.money.providers.all
    assert isinstance(opened.provider, Web3Provider)
    assert there(await opened.provider.find_payment(payment["id"])).state == "succeeded"
    assert await balance(ada) == "0.00"
    await shop.look()
    assert await balance(ada) == "5.00"


async def test_two_accounts_pay_the_same_price_and_each_gets_its_own(shop: Wallets) -> None:
    ada, bob = [await shop.customer(name) for name in ("ada", "bob")]
    of_ada, of_bob = await bought(ada), await bought(bob)
    tx = await shop.send(of_bob, who=shop.world.stranger)
    await shop.world.mine()
    stolen = await claim(ada, of_ada, tx)
    assert stolen.status == 400
    assert "does not pay the exact amount" in problem(stolen)["detail"]
    signed = shop.world.signed(of_ada["details"]["sign"])
    assert (await claim(ada, of_ada, tx, signed)).status == 400
    await shop.look()
    assert (await balance(ada), await balance(bob)) == ("0.00", "5.00")


async def test_of_what_was_not_exact_the_sender_signs_for_his_account(shop: Wallets) -> None:
    """Until then it is visible to the operator; more than was asked for is all credited."""
    ada = await shop.customer("ada")
    asked, once = {"amount": "5.00"}, {"idempotency-key": "k1"}
    payment = await ada.ok("POST", "/billing/v1/checkout", asked, headers=once)
    tx = await shop.world.transfer(shop.world.payer, shop.world.usdc, 7_500_000)
    await shop.world.mine()
    await shop.look()
    [unknown] = await shop.events("ignored")
    assert "7.5 USDC came from 0x" in unknown["detail"]
    assert await balance(ada) == "0.00"
    signature = shop.world.signed(payment["details"]["sign"])
    paid = (await claim(ada, payment, tx, signature)).json()
    assert (paid["state"], paid["paid"]["amount"], paid["credits"]["amount"]) == ("succeeded", "7.50", "7.50")
    assert "More was paid" in paid["reason"]
    assert await balance(ada) == "7.50"
    assert (await ada.ok("POST", "/billing/v1/checkout", asked, headers=once))["id"] == payment["id"]
    again = await bought(ada)
    signature = shop.world.signed(again["details"]["sign"])
    assert "credited already" in problem(await claim(ada, again, tx, signature))["detail"]
    noted = (await shop.operator.ok("GET", "/admin/v1/events"))["data"]
    assert [each["action"] for each in noted].count("payment.overpaid") == 1


async def test_too_little_grants_nothing_and_is_there_to_be_seen(shop: Wallets) -> None:
    ada = await shop.customer("ada")
    payment = await bought(ada)
    tx = await shop.world.transfer(shop.world.payer, shop.world.usdc, 4_000_000)
    await shop.world.mine()
    await claim(ada, payment, tx, shop.world.signed(payment["details"]["sign"]))
    shown = await shop.operator.ok("GET", f"/admin/v1/payments/{payment['id']}")
    assert (shown["state"], shown["mismatch"]) == (
        "pending",
        "Only 400 of 500 was paid, in the smallest unit of the currency.",
    )
    assert await balance(ada) == "0.00"
    smaller = await bought(ada, "4.00")
    await claim(ada, smaller, tx, shop.world.signed(smaller["details"]["sign"]))
    assert await balance(ada) == "4.00"


async def test_who_pays_twice_is_credited_once_and_shown(shop: Wallets) -> None:
    ada = await shop.customer("ada")
    payment = await bought(ada)
    for _ in range(2):
        await shop.send(payment)
    await shop.world.mine()
    await shop.look()
    assert await balance(ada) == "5.00"
    [twice] = await shop.events("refused")
    assert "is another payment" in twice["detail"]


async def test_credits_go_back_with_final_blocks_that_went(shop: Wallets) -> None:
    """Some were spent: that is debt, and the next call waits for a top-up."""
    ada = await shop.customer("ada")
    payment = await bought(ada)
    before = await shop.world.snapshot()
    await shop.send(payment)
    await shop.world.mine()
    await shop.look()
    assert (await ada("GET", "/x")).status == 200
    await shop.world.reorganise(before, 6)
    await shop.look()
    shown = await ada.ok("GET", f"/billing/v1/payments/{payment['id']}")
    assert shown["state"] == "disputed"
    assert await balance(ada) == "-1.00"
    assert (await ada("GET", "/x")).status == 402


async def test_a_node_that_is_away_loses_no_payment(shop: Wallets) -> None:
    """What is asked of it meanwhile says so, and charges nobody twice."""
    ada = await shop.customer("ada")
    payment = await bought(ada)
    await shop.send(payment)
    await shop.world.mine()
    shop.world.rpc.always = "broken"
    assert (await ada.ok("GET", f"/billing/v1/payments/{payment['id']}"))["state"] == "pending"
    assert (await ada("POST", "/billing/v1/checkout", {"amount": "5.00"})).status == 502
    told = (await shop.operator.ok("GET", "/admin/v1/providers"))["data"]
    assert [each["state"] for each in told] == ["down"]
    shop.world.rpc.always = ""
    await shop.look()
    assert await balance(ada) == "5.00"
