"""Invoices of ours at Stripe: made once however often we die, shown on a page, paid once."""

import pytest

from metergate.provider_port import (
    Declined,
    InvoiceDraft,
    InvoiceLine,
    Misconfigured,
    Money,
    NeedsAction,
    Payer,
    UnknownOutcome,
)
from metergate.testing.provider_conformance import UNANSWERED
from tests.adapters.stripe.bench import Bench, an_order

HOUR_US = 3600 * 10**6


async def a_draft(bench: Bench) -> InvoiceDraft:
    lines = (InvoiceLine("Calls", Money(1500, "USD")), InvoiceLine("Tokens", Money(499, "USD")))
    due_us = bench.clock() + 14 * 24 * HOUR_US
    return InvoiceDraft("inv-1", Payer("acct_1"), await bench.customer(), "MG-1", lines, due_us)


async def test_an_invoice_has_our_number_its_lines_and_a_page(bench: Bench) -> None:
    draft = await a_draft(bench)
    made = await bench.stripe.create_invoice(draft)
    assert (made.state, made.amount, made.invoice) == ("open", Money(1999, "USD"), "inv-1")
    assert made.url == f"{bench.fake.url}/invoice/{made.id}"
    there = bench.store.objects[made.id]
    lines = [(each["description"], each["amount"]) for each in there["lines"]["data"]]
    assert (there["number"], lines) == ("MG-1", [("Calls", 1500), ("Tokens", 499)])


@pytest.mark.parametrize("step", range(3))
async def test_whoever_dies_between_the_steps_goes_on_with_the_same_invoice(bench: Bench, step: int) -> None:
    draft = await a_draft(bench)
    bench.fake.faults.extend(["well"] * step + [UNANSWERED])
    with pytest.raises(UnknownOutcome):
        await bench.stripe.create_invoice(draft)
    bench.fake._kept.clear()  # also when Stripe has forgotten the keys
    made = await bench.stripe.create_invoice(draft)
    assert (made.state, made.amount.minor, len(bench.store.all("invoice"))) == ("open", 1999, 1)


async def test_an_invoice_is_paid_once_and_a_declined_card_leaves_it_open(bench: Bench) -> None:
    draft = await a_draft(bench)
    made = await bench.stripe.create_invoice(draft)
    bad = await bench.method(draft.customer, "pm_card_chargeCustomerFail")
    with pytest.raises(Declined, match="declined"):
        await bench.stripe.pay_invoice(made.id, bad)
    found = await bench.stripe.fetch_invoice(made.id)
    assert found is not None
    assert (found.state, found.reason) == ("open", "Your card was declined.")
    good = await bench.method(draft.customer)
    for _ in range(2):
        assert (await bench.stripe.pay_invoice(made.id, good)).paid == Money(1999, "USD")
    assert len(bench.store.all("charge")) == 1


async def test_a_bank_that_wants_to_be_asked_is_asked_on_the_invoices_page(bench: Bench) -> None:
    draft = await a_draft(bench)
    made = await bench.stripe.create_invoice(draft)
    method = await bench.method(draft.customer, "pm_card_authenticationRequired")
    with pytest.raises(NeedsAction) as asked:
        await bench.stripe.pay_invoice(made.id, method)
    assert asked.value.url == made.url


async def test_an_invoice_is_void_for_good(bench: Bench) -> None:
    made = await bench.stripe.create_invoice(await a_draft(bench))
    for _ in range(2):
        assert (await bench.stripe.void_invoice(made.id)).state == "void"
    with pytest.raises(Misconfigured, match="void"):
        await bench.stripe.pay_invoice(made.id, "pm_card_visa")


async def test_what_stripe_leaves_out_is_nothing_and_no_mistake(bench: Bench) -> None:
    """An error has at least a type, and an invoice may be paid by something else than a payment."""
    draft = await a_draft(bench)
    made = await bench.stripe.create_invoice(draft)
    bare = {"type": "api_error"}
    bench.store.objects[bench.store.objects[made.id]["_intent"]]["last_payment_error"] = bare
    for changed in ({}, {"last_finalization_error": bare}):
        bench.store.objects[made.id] |= changed
        found = await bench.stripe.fetch_invoice(made.id)
        assert found is not None
        assert (found.state, found.reason) == ("open", "")
    bench.store.of("invoice_payment", "invoice", made.id)[0]["payment"] = {"type": "charge", "charge": "ch_1"}
    assert await bench.stripe.fetch_invoice(made.id) is not None
    assert await bench.stripe.intent_of_invoice(made.id) == ""
    paid = await bench.stripe.charge(an_order(customer=draft.customer), await bench.method(draft.customer))
    bench.store.objects[paid.id] |= {"status": "requires_payment_method", "last_payment_error": bare}
    again = await bench.stripe.fetch_payment(paid.id)
    assert again is not None
    assert (again.state, again.reason) == ("failed", "")


async def test_what_is_not_there_is_none_or_a_sentence(bench: Bench) -> None:
    assert await bench.stripe.fetch_invoice("in_nobody") is None
    assert await bench.stripe.fetch_subscription("sub_nobody") is None
    assert await bench.stripe.fetch_customer("cus_nobody") is None
    for nobody in ("cs_nobody", "pi_nobody", "ch_nobody", "order-1"):
        assert await bench.stripe.fetch_payment(nobody) is None
    with pytest.raises(Misconfigured, match="no invoice in_nobody"):
        await bench.stripe.void_invoice("in_nobody")
