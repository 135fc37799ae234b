"""`provider: stripe` from end to end: what is paid is credited once, and what is not true gives nothing."""

import asyncio
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from metergate.api.models_payments import PortalPage
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.stripe.fake.pages import arrives, fails
from tests.adapters.stripe.fake.paying import disputed
from tests.adapters.stripe.fake.store import Json
from tests.adapters.stripe.house import ASKED, DECLINED, LATER, House, a_house
from tests.api.client import problem


async def test_a_402_leads_to_a_page_of_stripe_and_paying_it_to_a_200(house: House) -> None:
    ada = await house.customer()
    told = problem(await ada("GET", "/x"))
    bought = await house.buys(ada, pack="small")
    assert (told["status"], bought["state"], bought["amount"]["amount"]) == (402, "pending", "5.00")
    assert await house.credits(ada) == "0.00"
    await house.told()
    assert await house.credits(ada) == "6.00"
    assert (await ada("GET", "/x")).status == 200
    assert await house.is_proven()


async def test_every_order_of_news_and_every_repetition_credits_once(house: House) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, amount="19.99")
    chance = random.Random(7)
    for _ in range(6):
        events = list(house.stripe.store.events)
        chance.shuffle(events)
        await house.told(events)
    shown = await ada.ok("GET", f"/billing/v1/payments/{bought['id']}")  # the payer comes back, too
    assert (shown["state"], shown["paid"]["amount"]) == ("succeeded", "19.99")
    assert shown["method"] == {"type": "card", "brand": "visa", "last4": "4242"}
    assert (house.intent(bought["id"])["amount"], await house.credits(ada)) == (1999, "19.99")
    assert {each["deliveries"] for each in await house.events("done")} == {6}
    assert await house.is_proven()


async def test_fifty_deliveries_at_once_credit_once(house: House) -> None:
    ada = await house.customer()
    await house.buys(ada, amount="5.00")
    bodies = [house.stripe.body(event) for event in house.stripe.store.events]
    answers = await asyncio.gather(*(house.tell(body) for _ in range(50) for body in bodies))
    assert {answer.status for answer in answers} == {200}
    await house.handled()
    assert {each["deliveries"] for each in await house.events("done")} == {50}
    assert (await house.credits(ada), await house.is_proven()) == ("5.00", True)


@pytest.mark.parametrize("fault", [UNANSWERED, BROKEN])
async def test_a_page_is_opened_once_whatever_becomes_of_the_answer(house: House, fault: str) -> None:
    ada = await house.customer()
    await ada.ok("POST", "/billing/v1/payment-methods", {"token": "pm_card_visa"})  # a customer is there
    house.stripe.faults.append(fault)
    bought = await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"})
    assert (bought["state"], house.stripe.store.made()) == ("pending", 1)
    await house.pays(bought)
    await house.told()
    assert await house.credits(ada) == "5.00"


async def test_a_charge_whose_answer_is_lost_is_made_once(house: House) -> None:
    ada = await house.customer()
    kept = await ada.ok("POST", "/billing/v1/payment-methods", {"token": "pm_card_visa"})
    house.stripe.faults.append(UNANSWERED)
    wanted = {"account": "ada", "amount": "3.00", "method": kept["id"]}
    paid = await house.operator.ok("POST", "/admin/v1/payments", wanted)
    assert (paid["state"], len(house.stripe.store.all("charge"))) == ("succeeded", 1)
    assert await house.credits(ada) == "3.00"


async def test_stripe_that_is_busy_is_left_alone_for_as_long_as_it_asks(house: House) -> None:
    ada = await house.customer()
    house.stripe.busy_s = 30
    house.stripe.faults.append(BUSY)
    answer = await ada("POST", "/billing/v1/checkout", {"amount": "5.00"})
    assert (answer.status, problem(answer)["reason"]) == (502, "provider_busy")
    assert answer.header("retry-after") == "30"


async def test_a_customer_that_stripe_has_already_is_taken_over(house: House) -> None:
    ada = await house.customer()
    known = house.stripe.store.add("cus", "customer", email=None, name=None, metadata={})
    wanted = {"account": "ada", "provider": "stripe", "customer": known["id"]}
    assert await house.operator.ok("POST", "/admin/v1/customers", wanted) == wanted
    bought = await house.buys(ada, amount="5.00")
    await house.told()
    assert (house.intent(bought["id"])["customer"], await house.credits(ada)) == (known["id"], "5.00")
    assert len(house.stripe.store.all("customer")) == 1


async def test_a_customer_is_led_to_a_page_of_his_own_and_back_to_where_the_operator_allows(
    house: House,
) -> None:
    ada = await house.customer()
    told = await ada.ok("POST", "/billing/v1/portal", {"return_url": "https://app.example.com/me"})
    opened = house.stripe.store.all("billing_portal.session")[-1]
    assert PortalPage.model_validate(told, strict=True).url == opened["url"]
    [known] = house.stripe.store.all("customer")
    assert (opened["customer"], opened["return_url"]) == (known["id"], "https://app.example.com/me")
    assert (await ada.ok("POST", "/billing/v1/portal"))["url"] == opened["url"]
    strange = await ada("POST", "/billing/v1/portal", {"return_url": "https://elsewhere.example.net/"})
    assert (strange.status, problem(strange)["status"]) == (400, 400)
    assert len(house.stripe.store.all("billing_portal.session")) == 2


async def test_forged_and_old_news_is_refused_and_changes_nothing(house: House) -> None:
    ada = await house.customer()
    await house.buys(ada, amount="5.00")
    body = house.stripe.body(house.stripe.store.events[-1])
    signed = house.stripe.signed(body)["stripe-signature"]
    lies: tuple[dict[str, str], ...] = (
        {},
        {"stripe-signature": "t=1,v1=0"},
        {"stripe-signature": signed.replace("v1=", "v0=")},
        house.stripe.signed(body, "whsec_of_a_stranger"),
        house.stripe.signed(body, age_s=301),
        house.stripe.signed(body, age_s=-301),
    )
    for headers in lies:
        answer = await house.tell(body, headers)
        assert (answer.status, problem(answer)["reason"]) == (400, "webhook_forged")
    assert (await house.tell(body.replace(b"pi_", b"pj_"), house.stripe.signed(body))).status == 400
    assert (await house.operator.ok("GET", "/admin/v1/webhooks"))["data"] == []
    health = await house.operator.ok("GET", "/admin/v1/webhooks/health")
    assert (health["data"][0]["forged"], await house.credits(ada)) == (len(lies) + 1, "0.00")


async def test_a_secret_is_changed_without_a_gap(tmp_path: Path) -> None:
    async with a_house(tmp_path, "whsec_old, whsec_new") as house:
        await house.customer()
        await house.buys(await house.customer("bob"), amount="5.00")
        for event, secret in zip(house.stripe.store.events, ("whsec_old", "whsec_new"), strict=False):
            body = house.stripe.body(event)
            assert (await house.tell(body, house.stripe.signed(body, secret))).status == 200


Lie = Callable[[Json], Json]
LIES: dict[str, tuple[Lie, str]] = {
    "too little": (lambda intent: {"amount": 1, "amount_received": 1}, "Only 1 of 500 was paid"),
    "another currency": (lambda intent: {"currency": "jpy"}, "says JPY"),
    "another order": (lambda intent: {"metadata": {"metergate_order": "pay_other"}}, "pays pay_other"),
    "another customer": (lambda intent: {"customer": "cus_stranger"}, "cus_stranger paid"),
    "live mode": (lambda intent: {"livemode": True}, "live mode"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_not_what_we_asked_for_gives_nothing_and_is_visible(house: House, lie: str) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, amount="5.00")
    change, why = LIES[lie]
    intent = house.intent(bought["id"])
    intent |= change(intent)
    await house.told()
    assert (await house.credits(ada), why in (await house.payment(bought))["mismatch"]) == ("0.00", True)
    assert any(why in each["detail"] for each in await house.events("refused"))
    assert await house.is_proven()


async def test_news_of_another_mode_or_of_another_account_is_not_followed(house: House) -> None:
    ada = await house.customer()
    await house.buys(ada, amount="5.00")
    paid: Json = json.loads(house.stripe.body(house.stripe.store.events[-1]))
    changes: list[Json] = [{"livemode": True}, {"account": "acct_of_another"}]
    for number, change in enumerate(changes):
        body = json.dumps({**paid, "id": f"evt_foreign_{number}", **change}).encode()
        assert (await house.tell(body)).status == 200
    await house.handled()
    details = " ".join(each["detail"] for each in await house.events("refused"))
    assert ("not of test mode" in details, "acct_of_another" in details) == (True, True)
    assert await house.credits(ada) == "0.00"


async def test_a_completed_page_is_not_paid_before_the_money_is_there(house: House) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, LATER, amount="5.00")
    await house.told()
    assert ((await house.payment(bought))["state"], await house.credits(ada)) == ("pending", "0.00")
    [page] = house.stripe.store.all("checkout.session")
    assert (page["status"], page["payment_status"]) == ("complete", "unpaid")
    arrives(house.stripe.store, page["id"])
    await house.told()
    assert ((await house.payment(bought))["state"], await house.credits(ada)) == ("succeeded", "5.00")


async def test_a_promise_of_a_bank_that_breaks_is_a_payment_that_failed(house: House) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, LATER, amount="5.00")
    await house.told()
    [page] = house.stripe.store.all("checkout.session")
    fails(house.stripe.store, page["id"])
    await house.told()
    shown = await house.payment(bought)
    assert (shown["state"], shown["reason"]) == ("failed", "The debit was refused.")
    assert await house.credits(ada) == "0.00"


async def test_after_a_card_that_is_declined_another_one_pays(house: House) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, DECLINED, amount="5.00")
    await house.told()
    shown = await house.payment(bought)
    assert (shown["state"], shown["reason"]) == ("pending", "Your card was declined.")
    assert await house.pays(shown) == 200
    await house.told()
    assert await house.credits(ada) == "5.00"


async def test_a_page_that_expires_is_a_payment_that_is_canceled(house: House) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, DECLINED, amount="5.00")
    canceled = await house.operator.ok("POST", f"/admin/v1/payments/{bought['id']}/cancel")
    [page] = house.stripe.store.all("checkout.session")
    assert (canceled["state"], page["status"], await house.pays(bought)) == ("canceled", "expired", 400)


async def test_refunds_and_lost_disputes_take_credits_back_once(house: House) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, amount="10.00")
    await house.told()
    part = {"payment": bought["id"], "amount": "3.00", "id": "back-1"}
    for _ in range(2):
        assert (await house.operator.ok("POST", "/admin/v1/refunds", part))["state"] == "succeeded"
    assert len(house.stripe.store.all("refund")) == 1
    disputed(house.stripe.store, house.intent(bought["id"]), "needs_response")
    await house.told()
    assert await house.credits(ada) == "7.00"
    disputed(house.stripe.store, house.intent(bought["id"]), "lost")
    for events in itertools.repeat(house.stripe.store.events, 2):
        await house.told(events)
    assert (await house.credits(ada), await house.is_proven()) == ("0.00", True)


async def test_a_refund_that_was_made_in_the_dashboard_takes_credits_back(house: House) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, amount="10.00")
    await house.told()
    intent = house.intent(bought["id"])
    refund: Json = {"amount": 400, "currency": "usd", "status": "succeeded", "metadata": {}}
    about: Json = {"charge": intent["latest_charge"], "payment_intent": intent["id"]}
    made = house.stripe.store.add("re", "refund", **refund, **about)
    house.stripe.store.tell("refund.created", made)
    await house.told()
    assert (await house.credits(ada), await house.is_proven()) == ("6.00", True)


async def test_a_kept_card_is_charged_and_its_bank_may_want_to_be_asked(house: House) -> None:
    ada = await house.customer()
    paid, asked = [
        await house.operator.ok(
            "POST",
            "/admin/v1/payments",
            {
                "account": "ada",
                "amount": "3.00",
                "method": (await ada.ok("POST", "/billing/v1/payment-methods", {"token": token}))["id"],
            },
        )
        for token in ("pm_card_visa", "pm_card_authenticationRequired")
    ]
    assert (paid["state"], asked["state"], await house.credits(ada)) == ("succeeded", "pending", "3.00")
    assert asked["url"].startswith(f"{house.stripe.url}/bank/pi_")
    await house.confirms(asked["url"])
    await house.told()
    assert ((await house.payment(asked))["state"], await house.credits(ada)) == ("succeeded", "6.00")
    assert len(house.stripe.store.all("customer")) == 1


async def test_a_declined_card_is_a_402_and_stays_declined(house: House) -> None:
    ada = await house.customer()
    kept = await ada.ok("POST", "/billing/v1/payment-methods", {"token": "pm_card_chargeCustomerFail"})
    wanted = {"account": "ada", "amount": "3.00", "method": kept["id"]}
    answer = await house.operator("POST", "/admin/v1/payments", wanted)
    assert (answer.status, problem(answer)["detail"]) == (402, "Your card was declined.")
    await house.told()
    [payment] = (await house.operator.ok("GET", "/admin/v1/payments"))["data"]
    assert (payment["state"], await house.credits(ada)) == ("failed", "0.00")


async def test_a_payer_confirms_on_the_page(house: House) -> None:
    ada = await house.customer()
    bought = await house.buys(ada, ASKED, amount="5.00")
    await house.told()
    shown = await house.payment(bought)
    assert (shown["state"], await house.credits(ada)) == ("pending", "0.00")
    await house.confirms(shown["url"])
    await house.told()
    assert await house.credits(ada) == "5.00"


async def test_what_stripe_could_not_deliver_is_fetched(house: House) -> None:
    ada = await house.customer()
    house.stripe.store.reachable = False
    await house.buys(ada, amount="5.00")
    opened = house.app.engine.money.providers.get("stripe")
    await house.app.engine.money.inbox.fetch(opened)
    told = (await house.operator.ok("GET", "/admin/v1/webhooks"))["data"]
    assert len(told) == len([each for each in house.stripe.store.events if each["undelivered"]])
    await house.handled()
    assert await house.credits(ada) == "5.00"
    await house.told()  # and what is delivered late changes nothing
    assert await house.credits(ada) == "5.00"


async def test_the_policy_is_listed_at_stripe_and_a_second_time_changes_nothing(house: House) -> None:
    first = (await house.operator.ok("POST", "/admin/v1/providers/sync"))["data"]
    again = (await house.operator.ok("POST", "/admin/v1/providers/sync", {"provider": "stripe"}))["data"]
    changes = [(each["kind"], each["name"], each["change"]) for each in first]
    assert changes == [
        ("meter", "requests", "created"),
        ("plan", "growth", "created"),
        ("pack", "small", "created"),
    ]
    assert {each["change"] for each in again} == {"unchanged"}
    [shown] = (await house.operator.ok("GET", "/admin/v1/providers"))["data"]
    assert (shown["state"], shown["mode"], shown["detail"]) == ("ok", "test", "test mode, account acct_fake")
