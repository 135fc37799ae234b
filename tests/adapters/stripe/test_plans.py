"""Plans that Stripe renews, and the invoices that it makes for them."""

from pathlib import Path

from metergate.provider_port import Item
from tests.adapters.stripe.bench import a_bench, an_order
from tests.adapters.stripe.fake.store import Json
from tests.adapters.stripe.fake.subscribing import cancel, renewed
from tests.adapters.stripe.house import House, a_house
from tests.api.client import Client, problem


async def plan_of(house: House, account: str = "ada") -> str:
    plan: str | None = (await house.operator.ok("GET", f"/admin/v1/accounts/{account}"))["plan"]
    return plan or "free"


async def subscribed(house: House) -> tuple[Client, Json]:
    ada = await house.customer()
    await house.buys(ada, plan="growth")
    await house.told()
    [known] = house.stripe.store.all("subscription")
    return ada, known


async def test_who_pays_for_a_plan_on_the_page_is_on_it(house: House) -> None:
    _, known = await subscribed(house)
    assert (await plan_of(house), known["status"]) == ("growth", "active")
    [price] = house.stripe.store.all("price")
    assert (price["unit_amount"], price["recurring"]["interval"]) == (900, "month")
    [payment] = (await house.operator.ok("GET", "/admin/v1/payments"))["data"]
    assert (payment["state"], payment["paid"]["amount"]) == ("succeeded", "9.00")
    assert await house.is_proven()


async def test_two_who_take_a_plan_pay_one_price_that_is_listed_once(house: House) -> None:
    for account in ("ada", "bob"):
        await house.buys(await house.customer(account), plan="growth")
    await house.operator.ok("POST", "/admin/v1/providers/sync")
    plans = [each for each in house.stripe.store.all("price") if each["metadata"].get("metergate_plan")]
    assert [(each["unit_amount"], each["lookup_key"]) for each in plans] == [(900, "metergate:plan:growth")]


async def test_a_plan_lasts_while_its_renewal_is_tried_again_and_ends_with_the_subscription(
    house: House,
) -> None:
    _, known = await subscribed(house)
    known["default_payment_method"] = "pm_card_chargeCustomerFail"
    renewed(house.stripe.store, known)
    await house.told()
    assert (await plan_of(house), known["status"]) == ("growth", "past_due")
    cancel(house.stripe.store, {}, known["id"])
    await house.told()
    assert await plan_of(house) == "free"


async def test_a_renewal_is_an_invoice_and_no_second_payment_of_the_order(house: House) -> None:
    _, known = await subscribed(house)
    renewed(house.stripe.store, known)
    await house.told()
    [payment] = (await house.operator.ok("GET", "/admin/v1/payments"))["data"]
    assert (payment["state"], payment.get("mismatch")) == ("succeeded", None)
    assert (await house.events("refused"), await plan_of(house)) == ([], "growth")


async def test_a_renewal_that_waits_for_the_payer_is_told_with_the_page_to_go_on_at(house: House) -> None:
    _, known = await subscribed(house)
    wanted = {"url": "http://127.0.0.1:9/hooks", "types": ["invoice.*"]}
    await house.operator.ok("POST", "/admin/v1/endpoints", wanted)
    declined, asked = "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"
    for card in (declined, asked):
        known["default_payment_method"] = card
        renewed(house.stripe.store, known, off_session=False)
        await house.told()
    invoice = known["latest_invoice"]
    await house.confirms(f"{house.stripe.url}/invoice/{invoice}")
    await house.told()
    told = [each["data"] for each in (await house.operator.ok("GET", "/admin/v1/notices"))["data"]]
    assert {each["reason"] for each in told if each["invoice"] != invoice} == {"Your card was declined."}
    paid, waits = [each for each in told if each["invoice"] == invoice]
    assert (waits["state"], waits["reason"]) == ("open", "The payer has to confirm the payment.")
    assert waits["url"] == f"{house.stripe.url}/invoice/{invoice}"
    assert (paid["state"], paid["before"], paid["paid"]["amount"]) == ("paid", "open", "9.00")


async def test_a_kept_card_takes_a_plan_and_one_that_is_declined_does_not(house: House) -> None:
    ada = await house.customer()
    wanted = {"account": "ada", "plan": "growth"}
    bad = await ada.ok("POST", "/billing/v1/payment-methods", {"token": "pm_card_chargeCustomerFail"})
    answer = await house.operator("POST", "/admin/v1/payments", {**wanted, "method": bad["id"]})
    assert (answer.status, problem(answer)["reason"]) == (402, "payment_declined")
    assert [each["status"] for each in house.stripe.store.all("subscription")] == ["canceled"]
    good = await ada.ok("POST", "/billing/v1/payment-methods", {"token": "pm_card_visa"})
    paid = await house.operator.ok("POST", "/admin/v1/payments", {**wanted, "method": good["id"]})
    assert (paid["state"], await plan_of(house)) == ("succeeded", "growth")
    await house.told()
    assert await plan_of(house) == "growth"


async def test_a_bank_that_wants_to_be_asked_is_asked_on_the_page_of_the_invoice(house: House) -> None:
    ada = await house.customer()
    kept = await ada.ok("POST", "/billing/v1/payment-methods", {"token": "pm_card_authenticationRequired"})
    wanted = {"account": "ada", "plan": "growth", "method": kept["id"]}
    paid = await house.operator.ok("POST", "/admin/v1/payments", wanted)
    assert (paid["state"], await plan_of(house)) == ("pending", "free")
    assert paid["url"].startswith(f"{house.stripe.url}/invoice/in_")
    await house.confirms(paid["url"])
    await house.told()
    verified = await house.operator.ok("POST", f"/admin/v1/payments/{paid['id']}/verify")
    assert (verified["state"], await plan_of(house)) == ("succeeded", "growth")


async def test_what_somebody_else_sells_to_our_customer_moves_nobody(house: House) -> None:
    _, known = await subscribed(house)
    other = {**known, "id": "sub_of_a_shop", "metadata": {}}
    item = {**known["items"]["data"][0]}
    item["price"] = {**item["price"], "metadata": {}}
    other["items"] = {**known["items"], "data": [item]}
    house.stripe.store.objects[other["id"]] = other
    house.stripe.store.tell("customer.subscription.created", other)
    await house.told()
    assert await plan_of(house) == "growth"
    assert any("has no subscription" in each["detail"] for each in await house.events("ignored"))


async def test_metered_prices_join_the_subscription_where_the_operator_says_so(tmp_path: Path) -> None:
    async with a_house(tmp_path, settings={"STRIPE_PLAN_METERS": "requests"}) as house:
        ada = await house.customer()
        answer = await ada("POST", "/billing/v1/checkout", {"plan": "growth"})
        assert (answer.status, "providers sync" in problem(answer)["detail"]) == (502, True)
        await house.operator.ok("POST", "/admin/v1/providers/sync")
        await house.buys(ada, plan="growth")
        await house.told()
        [page] = house.stripe.store.all("checkout.session")
        metered, fixed = page["_asked"]["line_items"][1], page["_asked"]["line_items"][0]
        assert (fixed["quantity"], "quantity" in metered) == (1, False)
        assert (await plan_of(house), page["amount_total"]) == ("growth", 900)


async def test_a_plan_joins_as_many_meters_as_the_operator_names() -> None:
    names = [f"meter_{number}" for number in range(12)]
    async with a_bench(STRIPE_PLAN_METERS=",".join(names)) as bench:
        meters = [Item("meter", each, each, unit_price="1", currency="USD") for each in names]
        await bench.stripe.sync_catalogue(meters)
        await bench.stripe.open_checkout(an_order(900, kind="plan", plan="growth", every="month"))
        [page] = bench.asked("/v1/checkout/sessions")
        assert len({each["price"] for each in page["line_items"]}) == 13
