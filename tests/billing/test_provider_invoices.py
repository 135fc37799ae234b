"""Invoices and subscriptions that a provider keeps: what it says of them, in whatever order that comes."""

from functools import partial
from typing import Any

import pytest

from metergate.billing import following
from metergate.errors import PaymentFailed
from metergate.ledger import accounts, subscriptions
from metergate.ledger.inbox import DONE, IGNORED, REFUSED
from metergate.ledger.subscriptions import ProviderInvoice
from metergate.provider_port import (
    INVOICE,
    InvoiceDraft,
    InvoiceFacts,
    InvoiceLine,
    Money,
    Payer,
    ProviderEvent,
)
from tests.billing.bench import Bench

LINES = (InvoiceLine("Calls", Money(1500, "USD")), InvoiceLine("Tokens", Money(499, "USD")))


async def an_invoice(bench: Bench) -> InvoiceFacts:
    account = await bench.ledger.read(lambda tx: accounts.known(tx, "acct"))
    customer = await bench.cashier.customer(bench.cashier.providers.get("sandbox"), account)
    draft = InvoiceDraft("inv-1", Payer("acct"), customer, "MG-1", LINES, due_at_us=0)
    return await bench.provider.create_invoice(draft)


async def heard(bench: Bench) -> ProviderInvoice:
    """All news is handled, the newest first; what we know of the invoice then."""
    await bench.deliver(bench.deliveries()[::-1])
    await bench.handle()
    found = await bench.ledger.read(lambda tx: subscriptions.invoice(tx, "sandbox", "in_inv-1"))
    assert found is not None
    return found


async def test_an_invoice_of_a_provider_is_open_until_its_page_was_paid(bench: Bench) -> None:
    made = await an_invoice(bench)
    known = await heard(bench)
    assert (known.account, known.invoice, known.state, known.minor) == ("acct", "inv-1", "open", 1999)
    await bench.pay_at(made.url)
    paid = await heard(bench)
    assert (paid.state, paid.paid_minor) == ("paid", 1999)
    assert {each.state for each in await bench.events() if each.type.startswith("invoice")} == {DONE}
    assert bench.balance() == 0


async def test_an_invoice_that_a_method_did_not_pay_stays_open_and_one_that_is_void_is_void(
    bench: Bench,
) -> None:
    made = await an_invoice(bench)
    method = await bench.provider.attach_method("cus_acct", "tok_declined")
    with pytest.raises(PaymentFailed):
        await bench.provider.pay_invoice(made.id, method.id)
    assert (await heard(bench)).state == "open"
    await bench.provider.void_invoice(made.id)
    assert (await heard(bench)).state == "void"


async def test_what_was_asked_for_earlier_does_not_undo_what_is_known(bench: Bench) -> None:
    """Two workers ask; the one who asked first is the last to tell."""
    made = await an_invoice(bench)
    await bench.pay_at(made.url)
    assert (await heard(bench)).state == "paid"
    stale = following._row("sandbox", "acct", made, bench.clock() - 1)
    assert not await bench.ledger.write(lambda tx: subscriptions.put_invoice(tx, stale))
    assert (await heard(bench)).state == "paid"


async def test_an_invoice_of_another_mode_or_of_nobody_is_not_kept(bench: Bench) -> None:
    made = await an_invoice(bench)
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "in_live": ({"live": True}, REFUSED),
        "in_strange": ({"customer": "cus_stranger"}, IGNORED),
    }
    for name, (changes, state) in cases.items():
        bench.sandbox.invoices[name] = made._replace(id=name, **changes)
        event = ProviderEvent(f"evt_{name}", "invoice.created", INVOICE, name, live=False)
        handled = await following.invoice(bench.cashier, bench.cashier.providers.get("sandbox"), event)
        assert handled.state == state
        assert (
            await bench.ledger.read(partial(subscriptions.invoice, provider="sandbox", external_id=name))
            is None
        )


async def test_a_subscription_that_was_asked_for_earlier_moves_no_plan(bench: Bench) -> None:
    payment = await bench.top_up(900, "sub-1", kind="plan", subject="growth", every="month")
    await bench.pay(payment)
    opened = bench.cashier.providers.get("sandbox")
    active = bench.sandbox.subscriptions["sub_sub-1"]
    asked_us = bench.clock()
    bench.clock.advance(seconds=1)
    ended = active._replace(state="canceled")
    for facts, at_us in ((active, asked_us), (ended, bench.clock()), (active, asked_us)):
        await following.believe(bench.cashier, opened, facts, at_us)
    assert (await bench.office.accounts.show("acct"))["plan"] is None
