"""The fake is no kinder than Stripe: it takes no parameter and shows no field that the SDK does not know."""

import typing

import pytest
import stripe
from stripe._object_classes import get_object_class

from metergate.provider_port import InvoiceDraft, InvoiceLine, Item, Misconfigured, Money, Payer
from metergate_stripe.outcomes import ask
from tests.adapters.stripe.bench import Bench, an_order
from tests.adapters.stripe.fake.params import decoded
from tests.adapters.stripe.fake.paying import disputed
from tests.adapters.stripe.fake.store import Json


async def a_busy_day(bench: Bench) -> None:
    """Something of every kind that the adapter meets."""
    stripe_, customer = bench.stripe, await bench.customer()
    method = await bench.method(customer)
    await stripe_.sync_catalogue([Item("meter", "tokens", "Tokens", unit_price="1", currency="USD")])
    paid = await stripe_.charge(an_order(customer=customer), method)
    await stripe_.refund_payment(paid.id, Money(500, "USD"), "back-1")
    disputed(bench.store, bench.store.objects[paid.id], "lost")
    plan = an_order(900, kind="plan", plan="growth", every="month", customer=customer)
    for order in (plan, an_order()):
        await bench.pay((await stripe_.open_checkout(order)).url)
    due_us = bench.clock() + 86_400 * 10**6
    lines = (InvoiceLine("Calls", Money(5, "USD")),)
    await stripe_.create_invoice(InvoiceDraft("inv-1", Payer("acct_1"), customer, "MG-1", lines, due_us))
    await stripe_.portal_url(customer, "https://app.example.com/")


async def test_every_field_of_the_fake_is_one_of_the_sdks(bench: Bench) -> None:
    await a_busy_day(bench)
    kinds = {each["object"] for each in bench.store.objects.values()}
    assert len(kinds) >= 14
    for each in bench.store.objects.values():
        assert strange(bench.store.shown(each)) == [], each["object"]


def strange(shown: Json) -> list[str]:
    """Fields that the SDK's class of this object does not have."""
    known: set[str] = set()
    for each in get_object_class("V1", shown["object"]).__mro__:
        known |= set(vars(each).get("__annotations__", ()))
    return [name for name in shown if name not in known and name != "undelivered"]


async def test_an_unknown_parameter_a_wrong_type_and_a_missing_one_are_refused(bench: Bench) -> None:
    create = bench.stripe.api.payment_intents.create_async
    good: typing.Any = {"amount": 500, "currency": "usd"}
    bads: list[typing.Any] = [{**good, "colour": "red"}, {**good, "amount": "much"}, {"currency": "usd"}]
    for bad in bads:
        with pytest.raises(Misconfigured):
            await ask(create(bad))
    assert (await ask(create(good))).amount == 500


async def test_a_key_is_kept_for_what_was_understood_only(bench: Bench) -> None:
    create = bench.stripe.api.payment_intents.create_async
    bad: typing.Any = {"amount": 500, "currency": "usd", "colour": "red"}
    with pytest.raises(stripe.InvalidRequestError):
        await create(bad, {"idempotency_key": "k"})
    made = await create({"amount": 500, "currency": "usd"}, {"idempotency_key": "k"})
    again = await create({"amount": 500, "currency": "usd"}, {"idempotency_key": "k"})
    assert again.id == made.id
    with pytest.raises(stripe.IdempotencyError):
        await create({"amount": 501, "currency": "usd"}, {"idempotency_key": "k"})


def test_forms_are_read_as_the_sdk_writes_them() -> None:
    text = "a[b][0][c]=1&a[b][1][c]=2&d=&e[f]=%5B"
    assert decoded(text) == {"a": {"b": [{"c": "1"}, {"c": "2"}]}, "d": "", "e": {"f": "["}}
