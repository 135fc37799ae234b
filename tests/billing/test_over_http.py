"""Money in over HTTP: the customer's side, webhooks, the paths of older systems, the operator's side."""

import asyncio
import itertools
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from metergate import MeterGate
from metergate.api.operations_guards import GUARDS, OWN_GUARDS
from metergate.api.operations_payments import OWN_PAYMENTS, PAYMENTS
from metergate.config.settings import Settings
from metergate.engine import Engine
from metergate.errors import ConfigurationError
from metergate.ledger import inbox
from metergate.ledger.database import Tx
from metergate.ledger.payment_tables import provider_events
from metergate.provider_port import Payer
from metergate.provider_port.http import ask
from metergate.testing.asgi import fetch, lifespan
from metergate.testing.clock import FakeClock
from metergate_sandbox import Server
from metergate_sandbox.news import signed
from tests.api.client import Client, problem
from tests.billing.bench import KEY, POLICY, SECRET
from tests.billing.shop import Shop, hello
from tests.shell import written

HOUR_US = 3600 * 10**6


class House(Shop):
    """A metered app with a sandbox beside it."""

    def __init__(self, app: MeterGate, server: Server) -> None:
        super().__init__(app)
        self.server = server

    async def pay(self, payment: dict[str, Any], card: str = "4242424242424242") -> None:
        await ask("POST", payment["url"], body=f"card={card}".encode())

    async def tell(
        self,
        body: bytes,
        path: str = "/billing/v1/webhooks/sandbox",
        headers: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> Any:
        shown = {**self.server.news.headers(body), **(headers or {})}
        return await fetch(self.app, "POST", path, headers=shown, body=body, client=(host, 50_000))

    async def handled(self) -> None:
        """Wait until the worker has nothing left to handle."""
        async with asyncio.timeout(20):
            while (await self.operator.ok("GET", "/admin/v1/webhooks?state=waiting"))["data"]:
                self.app.engine.money.told()
                await asyncio.sleep(0.01)


@asynccontextmanager
async def a_house(folder: Path, secret: str = SECRET, **changes: object) -> AsyncIterator[House]:
    server = Server(KEY, SECRET, lambda: time.time_ns() // 1000, ask)
    await server.start()
    settings = Settings(
        data=folder / "data",
        frontend_url="https://app.example.com",
        environ={
            "SANDBOX_API_BASE": server.url,
            "SANDBOX_SECRET_KEY": KEY,
            "SANDBOX_WEBHOOK_SECRET": secret,
        },
    )
    policy = {
        **POLICY,
        "provider": "sandbox",
        "packs": {"small": {"credits": "6.00", "price": "5.00"}},
        "return_origins": ["https://shop.example.com"],
        **changes,
    }
    app = MeterGate(hello, written(folder, policy), settings=settings)
    try:
        async with lifespan(app):
            yield House(app, server)
    finally:
        await server.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as made:
        yield made


async def test_a_402_leads_to_a_page_and_paying_it_to_a_200(house: House) -> None:
    ada = await house.customer()
    refused = await ada("GET", "/x")
    told = problem(refused)
    assert (refused.status, told["top_up_url"]) == (402, "/billing/v1/checkout")
    bought = await ada.ok("POST", told["top_up_url"], {"pack": "small"})
    assert (bought["state"], bought["amount"]["amount"], bought["credits"]["amount"]) == (
        "pending",
        "5.00",
        "6.00",
    )
    await house.pay(bought)
    for body in house.server.news.sent:
        assert (await house.tell(body)).status == 200
    await house.handled()
    assert (await ada("GET", "/x")).status == 200
    assert (await ada.ok("GET", "/billing/v1/credits"))["balance"]["amount"] == "5.00"


async def test_who_was_declined_and_paid_with_another_card_sees_it_at_once(house: House) -> None:
    ada = await house.customer()
    bought = await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"})
    await house.pay(bought, "4000000000000002")
    shown = await ada.ok("GET", f"/billing/v1/payments/{bought['id']}")
    assert (shown["state"], shown["reason"]) == ("failed", "Your card was declined.")
    await house.pay(bought)
    shown = await ada.ok("GET", f"/billing/v1/payments/{bought['id']}")
    assert (shown["state"], shown["reason"]) == ("succeeded", None)
    assert (await ada.ok("GET", "/billing/v1/credits"))["balance"]["amount"] == "5.00"


async def test_who_comes_back_from_the_page_is_asked_for_at_the_provider(house: House) -> None:
    ada = await house.customer()
    bought = await ada.ok("POST", "/billing/v1/checkout", {"amount": "19.99"})
    await house.pay(bought)
    shown = await ada.ok("GET", f"/billing/v1/payments/{bought['id']}")
    assert (shown["state"], shown["paid"]["amount"], "mismatch" in shown) == ("succeeded", "19.99", False)
    assert shown["method"] == {"type": "card", "brand": "visa", "last4": "4242"}
    listed = await ada.ok("GET", "/billing/v1/payments")
    assert [each["id"] for each in listed["data"]] == [bought["id"]]


async def test_an_idempotency_key_means_one_payment(house: House) -> None:
    ada, bob = await house.customer("ada"), await house.customer("bob")
    key = {"idempotency-key": "order-7"}
    first = await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"}, headers=key)
    again = await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"}, headers=key)
    other = await bob.ok("POST", "/billing/v1/checkout", {"amount": "5.00"}, headers=key)
    assert first["id"] == again["id"] != other["id"]
    assert (await ada("POST", "/billing/v1/checkout", {"amount": "6.00"}, headers=key)).status == 409


async def test_nobody_sees_the_payments_of_others(house: House) -> None:
    ada, bob = await house.customer("ada"), await house.customer("bob")
    bought = await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"})
    for method, path in (("GET", ""), ("POST", "/capture")):
        answer = await bob(method, f"/billing/v1/payments/{bought['id']}{path}")
        assert (answer.status, problem(answer)["reason"]) == (404, "not_found")
    assert (await bob.ok("GET", "/billing/v1/payments"))["data"] == []


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "one of amount, pack and plan"),
        ({"pack": "small", "amount": "5.00"}, "one of amount, pack and plan"),
        ({"pack": "large"}, "no pack"),
        ({"plan": "free"}, "cannot be bought"),
        ({"amount": "0.001"}, "steps of 0.01"),
        ({"amount": "5.00", "currency": "EUR"}, "kept in USD"),
        ({"amount": "5.00", "provider": "stripe"}, "no payment provider"),
        ({"amount": "5.00", "success_url": "https://evil.example"}, "return_origins"),
        ({"amount": "5.00", "success_url": "https://app.example.com.evil.example/"}, "return_origins"),
        ({"amount": "5.00", "cancel_url": "javascript:alert(1)"}, "return_origins"),
        ({"amount": "5.00", "cancel_url": "https://["}, "return_origins"),
    ],
)
async def test_what_cannot_be_bought_is_one_sentence(house: House, wanted: Any, says: str) -> None:
    ada = await house.customer()
    answer = await ada("POST", "/billing/v1/checkout", wanted)
    assert (answer.status, says in problem(answer)["detail"]) == (400, True), answer.body
    assert house.server.sandbox.payments == {}


async def test_payers_go_back_to_where_the_operator_allows(house: House) -> None:
    ada = await house.customer()
    back = {"amount": "5.00", "success_url": "https://shop.example.com/thanks"}
    bought = await ada.ok("POST", "/billing/v1/checkout", back)
    answer = await ask("POST", bought["url"], body=b"card=4242424242424242")
    assert (answer.status, answer.headers["location"]) == (303, "https://shop.example.com/thanks")
    await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"})
    orders = [sale.order for sale in house.server.sandbox.sales.values()]
    assert orders[1].success_url == "https://app.example.com"


async def test_payment_methods_are_kept_charged_and_forgotten(house: House) -> None:
    ada = await house.customer()
    kept = await ada.ok("POST", "/billing/v1/payment-methods", {"token": "tok_visa"})
    assert (kept["type"], kept["brand"], kept["last4"]) == ("card", "visa", "4242")
    assert (await ada.ok("GET", "/billing/v1/payment-methods"))["data"] == [kept]
    wanted = {"account": "ada", "amount": "3.00", "method": kept["id"]}
    paid = await house.operator.ok("POST", "/admin/v1/payments", wanted)
    assert paid["state"] == "succeeded"
    assert (await ada("DELETE", f"/billing/v1/payment-methods/{kept['id']}")).status == 200
    assert (await ada("DELETE", f"/billing/v1/payment-methods/{kept['id']}")).status == 400
    declined = await ada.ok("POST", "/billing/v1/payment-methods", {"token": "tok_declined"})
    answer = await house.operator("POST", "/admin/v1/payments", {**wanted, "method": declined["id"]})
    assert (answer.status, problem(answer)["reason"]) == (402, "payment_declined")


async def test_news_that_is_not_signed_is_a_400_and_that_of_nobody_a_404(house: House) -> None:
    forged = await house.tell(b"{}", headers={"sandbox-signature": "t=1,v1=0"})
    assert (forged.status, problem(forged)["reason"]) == (400, "webhook_forged")
    assert (await house.tell(b"{}", "/billing/v1/webhooks/nobody")).status == 404
    assert (await house.tell(b"x" * (2**20 + 1))).status == 413
    health = await house.operator.ok("GET", "/admin/v1/webhooks/health")
    assert (health["state"], health["data"][0]["forged"]) == ("ok", 1)
    assert (await Client(house.app, "").ok("GET", "/billing/v1/webhooks/health")) == {"state": "ok"}


async def braked(house: House, hosts: Iterator[str]) -> bool:
    """Whether somebody is slowed down who goes on and on; a busy machine takes longer to be too fast."""
    for host in itertools.islice(hosts, 3000):
        if (await house.tell(b"{}", host=host)).status == 429:
            return True
    return False


async def test_a_flood_of_news_is_slowed_down(house: House) -> None:
    assert (await house.tell(b"{}")).status == 400
    assert await braked(house, itertools.repeat("203.0.113.7"))


async def test_who_has_a_network_of_addresses_is_one_who_floods(house: House) -> None:
    """An IPv6 address is chosen anew for every call; the network that it is of is not."""
    assert await braked(house, (f"2001:db8:0:1::{number:x}" for number in itertools.count(1)))
    assert (await house.tell(b"{}", host="2001:db8:0:2::1")).status == 400


async def test_news_is_only_acknowledged_when_it_is_kept(house: House, tmp_path: Path) -> None:
    """While nothing can be written the provider hears an error, and sends it again."""
    await house.customer()
    bought = await house.operator.ok("POST", "/admin/v1/payments", {"account": "ada", "amount": "3.00"})
    await house.pay(bought)
    body = house.server.news.sent[-1]
    with closing(sqlite3.connect(tmp_path / "data" / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await house.tell(body)).status == 503
        other.execute("ROLLBACK")
    assert (await house.operator.ok("GET", "/admin/v1/webhooks"))["data"] == []
    assert (await house.tell(body)).json() == {"received": 1, "new": 1}


async def test_news_that_was_given_up_is_seen_by_who_asks_without_a_key(house: House) -> None:
    about = ("evt", "t", "other", "o", False)

    def dead(tx: Tx) -> None:
        inbox.receive(tx, [inbox.Arrived("sandbox", "evt", "t", json.dumps(about), 0)], {}, b"", 0)
        tx.execute(provider_events.update().values(state=inbox.DEAD))

    await house.app.engine.office.desk.ledger.write(dead)
    stranger = Client(house.app, "")
    assert await stranger.ok("GET", "/billing/v1/webhooks/health") == {"state": "degraded"}
    await house.operator.ok("POST", "/admin/v1/webhooks/replay", {"state": "dead"})
    await house.handled()
    assert await stranger.ok("GET", "/billing/v1/webhooks/health") == {"state": "ok"}


async def test_the_operator_sees_what_was_told_and_handles_it_again(house: House) -> None:
    ada = await house.customer()
    await house.pay(await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"}))
    [first, *_] = house.server.news.sent
    await house.tell(first)
    await house.tell(first)
    await house.handled()
    [event] = (await house.operator.ok("GET", "/admin/v1/webhooks?state=done"))["data"]
    assert (event["type"], event["deliveries"]) == ("payment.created", 2)
    again = await house.operator.ok("POST", "/admin/v1/webhooks/replay", {"id": event["id"]})
    assert again == {"replayed": 1}
    await house.handled()
    assert (await ada.ok("GET", "/billing/v1/credits"))["balance"]["amount"] == "5.00"
    assert (await house.operator("POST", "/admin/v1/webhooks/replay", {"id": "evt_none"})).status == 404


async def test_all_that_is_dead_is_handled_again_however_much_it_is(house: House) -> None:
    def dead(tx: Tx) -> None:
        about = {"id": "e", "type": "t", "kind": "other", "object": "o", "live": False}
        many = [inbox.Arrived("sandbox", f"evt_{n}", "t", json.dumps(about), 0) for n in range(1200)]
        inbox.receive(tx, many, {}, b"", 0)
        tx.execute(provider_events.update().values(state=inbox.DEAD))

    await house.app.engine.office.desk.ledger.write(dead)
    again = await house.operator.ok("POST", "/admin/v1/webhooks/replay", {"state": "dead"})
    assert again == {"replayed": 1200}
    assert (await house.operator.ok("GET", "/admin/v1/webhooks?state=dead"))["data"] == []


async def test_who_canceled_and_who_moved_a_customer_is_in_the_books(house: House) -> None:
    await house.customer("ada")
    bought = await house.operator.ok(
        "POST", "/admin/v1/payments", {"account": "ada", "amount": "3.00", "capture": False}
    )
    await house.operator.ok("POST", f"/admin/v1/payments/{bought['id']}/cancel")
    house.server.sandbox.create_customer(Payer("old-ada"))
    wanted = {"account": "ada", "provider": "sandbox", "customer": "cus_old-ada"}
    await house.operator.ok("POST", "/admin/v1/customers", wanted)
    told = (await house.operator.ok("GET", "/admin/v1/events"))["data"]
    rows = [(each["actor"], each["action"], each["subject"]) for each in told]
    assert ("admin", "payment.cancel", bought["id"]) in rows
    assert ("admin", "customer.import", "ada") in rows


async def test_a_busy_provider_says_when_to_come_again(house: House) -> None:
    ada = await house.customer()
    house.server.fault({"kind": "busy", "after_s": 30})
    answer = await ada("POST", "/billing/v1/checkout", {"amount": "5.00"})
    assert (answer.status, problem(answer)["reason"]) == (502, "provider_busy")
    assert answer.header("retry-after") == "30"


async def test_the_operator_refunds_and_sees_what_went_back(house: House) -> None:
    ada = await house.customer()
    bought = await ada.ok("POST", "/billing/v1/checkout", {"pack": "small"})
    await house.pay(bought)
    await house.operator.ok("POST", f"/admin/v1/payments/{bought['id']}/verify")
    made = await house.operator.ok("POST", "/admin/v1/refunds", {"payment": bought["id"], "amount": "2.50"})
    assert (made["state"], made["credits"]["amount"]) == ("succeeded", "3.00")
    rest = await house.operator.ok("POST", "/admin/v1/refunds", {"payment": bought["id"]})
    assert rest["amount"]["amount"] == "2.50"
    shown = await house.operator.ok("GET", f"/admin/v1/payments/{bought['id']}")
    assert (shown["state"], shown["refunded"]["amount"]) == ("refunded", "5.00")
    back = (await house.operator.ok("GET", f"/admin/v1/payments/{bought['id']}/refunds"))["data"]
    assert len(back) == 2
    assert (await ada.ok("GET", "/billing/v1/credits"))["balance"]["amount"] == "0.00"
    assert (await house.operator.ok("GET", "/admin/v1/verify"))["ok"]


async def test_providers_say_what_they_can_do(house: House) -> None:
    [sandbox] = (await house.operator.ok("GET", "/admin/v1/providers"))["data"]
    assert (sandbox["name"], sandbox["mode"], sandbox["state"]) == ("sandbox", "test", "ok")
    assert {"checkouts", "refunds", "webhooks", "usage"} <= set(sandbox["capabilities"])
    health = await house.operator.ok("GET", "/admin/v1/health")
    assert health["providers"][0]["capabilities"] == sandbox["capabilities"]
    assert health["money"]["state"] == "ok"
    first = (await house.operator.ok("POST", "/admin/v1/providers/sync"))["data"]
    again = (await house.operator.ok("POST", "/admin/v1/providers/sync", {"provider": "sandbox"}))["data"]
    assert {(each["kind"], each["name"], each["change"]) for each in first} == {
        ("meter", "requests", "created"),
        ("plan", "growth", "created"),
        ("pack", "small", "created"),
    }
    assert {each["change"] for each in again} == {"unchanged"}


async def test_a_customer_of_a_provider_is_imported(house: House) -> None:
    await house.customer("ada")
    house.server.sandbox.create_customer(Payer("old-ada"))
    wanted = {"account": "ada", "provider": "sandbox", "customer": "cus_old-ada"}
    assert (await house.operator.ok("POST", "/admin/v1/customers", wanted)) == wanted
    answer = await house.operator("POST", "/admin/v1/customers", {**wanted, "customer": "cus_none"})
    assert answer.status == 400


async def test_older_paths_answer_where_the_policy_says_so(tmp_path: Path) -> None:
    async with a_house(tmp_path, compat=True) as house:
        ada = await house.customer()
        assert (await ada.ok("GET", "/api/credits/balance"))["balance"]["amount"] == "0.00"
        bought = await ada.ok("POST", "/api/checkout/create", {"amount": "5.00"})
        assert (await ada.ok("GET", f"/api/v1/billing/payments/{bought['id']}"))["id"] == bought["id"]
        assert (await ada.ok("GET", "/api/usage"))["data"] == []
        assert (await Client(house.app, "").ok("GET", "/api/v1/webhooks/health")) == {"state": "ok"}
        assert (await house.tell(b"{}", "/api/webhook/stripe")).status == 404  # no Stripe in this policy


async def test_without_compat_older_paths_are_the_apps(house: House) -> None:
    ada = await house.customer()
    await house.operator.ok("POST", "/admin/v1/grants", {"account": "ada", "amount": "5.00"})
    assert (await ada("GET", "/api/credits/balance")).body == b"hello"


async def test_a_policy_read_anew_changes_the_providers(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        written(tmp_path, POLICY)
        await house.operator.ok("POST", "/admin/v1/policy/reload")
        assert (await house.operator.ok("GET", "/admin/v1/providers"))["data"] == []
        ada = await house.customer()
        answer = await ada("POST", "/billing/v1/checkout", {"amount": "5.00"})
        assert (answer.status, problem(answer)["reason"]) == (404, "no_provider")


@pytest.mark.parametrize("secret", ["", "  "])
async def test_a_blank_secret_refuses_to_start(tmp_path: Path, secret: str) -> None:
    environ = {"SANDBOX_API_BASE": "http://127.0.0.1:1", "SANDBOX_SECRET_KEY": KEY}
    settings = Settings(data=tmp_path / "data", environ={**environ, "SANDBOX_WEBHOOK_SECRET": secret})
    engine = Engine({**POLICY, "provider": "sandbox"}, settings, FakeClock())
    with pytest.raises(ConfigurationError, match="Set SANDBOX_WEBHOOK_SECRET"):
        await engine.start()


async def test_a_secret_is_rotated_without_a_gap(tmp_path: Path) -> None:
    """While one takes the place of another both prove news, and afterwards the old one does not."""
    for given, accepted in ((f"whsec_2, {SECRET}", (200, 200)), ("whsec_2", (200, 400))):
        async with a_house(tmp_path, secret=given) as house:
            body = json.dumps(
                {"id": given, "type": "t", "kind": "other", "object": "", "live": False}
            ).encode()
            now_us = time.time_ns() // 1000
            told = [
                await house.tell(body, headers=signed(body, each, now_us)) for each in ("whsec_2", SECRET)
            ]
            assert tuple([answer.status for answer in told]) == accepted


TOP_UP = {"threshold": "1.00", "amount": "5.00", "monthly_cap": "50.00"}


async def test_every_endpoint_of_money_answers_in_the_form_it_promises(house: House) -> None:
    """What the descriptions of both APIs say of an answer is true, field by field."""
    ada = await house.customer()
    house.server.sandbox.create_customer(Payer("old-ada"))
    kept = await ada.ok("POST", "/billing/v1/payment-methods", {"token": "tok_visa"})
    now = await house.operator.ok(
        "POST", "/admin/v1/payments", {"account": "ada", "amount": "3.00", "method": kept["id"]}
    )
    later = {"account": "ada", "amount": "3.00", "capture": False}
    held = await house.operator.ok("POST", "/admin/v1/payments", later)
    await house.pay(held)
    dropped = await house.operator.ok("POST", "/admin/v1/payments", later)
    await house.tell(house.server.news.sent[0])
    bodies: dict[str, object] = {
        "POST /payments": {"account": "ada", "pack": "small"},
        "POST /refunds": {"payment": now["id"]},
        "POST /customers": {"account": "ada", "provider": "sandbox", "customer": "cus_old-ada"},
        "POST /webhooks/replay": {"state": "dead"},
        "POST /checkout": {"pack": "small"},
        "POST /payment-methods": {"token": "tok_visa"},
        "PUT /top-up": TOP_UP,
        "PUT /accounts/{account}/top-up": TOP_UP,
        "PUT /alerts": {"balance": ["1.00"]},
        "PUT /accounts/{account}/alerts": {"balance": ["1.00"]},
    }
    ids = {"capture": held["id"], "cancel": dropped["id"], "payment-methods": kept["id"]}
    for prefix, ask_for, endpoints in (
        ("/billing/v1", ada, (*OWN_PAYMENTS, *OWN_GUARDS)),
        ("/admin/v1", house.operator, (*PAYMENTS, *GUARDS)),
    ):
        for each in endpoints:
            if each.verb in ("payments.claim", "customers.portal"):
                continue  # the sandbox knows no transactions, and has no page of customers
            words = each.path.split("/")
            id = next((ids[word] for word in words if word in ids), now["id"])
            path = each.path.replace("{id}", id).replace("{payment}", id).replace("{account}", "ada")
            body = bodies.get(f"{each.method} {each.path}")
            told = await ask_for.ok(each.method, prefix + path, body)
            each.gives.model_validate(told, strict=True)


async def test_what_cannot_go_back_is_told_with_what_is_left(house: House) -> None:
    ada = await house.customer()
    bought = await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"})
    await house.pay(bought)
    await house.operator.ok("POST", "/admin/v1/refunds", {"payment": bought["id"], "amount": "3.50"})
    answer = await house.operator("POST", "/admin/v1/refunds", {"payment": bought["id"], "amount": "2.00"})
    told = f"The payment {bought['id']} has 1.50 USD left to refund: give more than 0 and not above it."
    assert (answer.status, problem(answer)["detail"]) == (400, told)
