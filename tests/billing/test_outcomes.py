"""What becomes of a payment when the provider declines, asks, is busy, breaks, or does not answer."""

import pytest

from metergate.billing import Cashier, Opened, Providers, Rule, Wanted
from metergate.errors import InvalidInput, PaymentFailed, ProviderError
from metergate.ledger import Conflict, payments, subscriptions
from metergate.ledger.database import Tx
from metergate.provider_port import (
    Checkout,
    Declined,
    Money,
    Order,
    Payer,
    PaymentFacts,
    ProviderHealth,
    UnknownOutcome,
)
from tests.billing.bench import NANOS, Bench


async def a_method(bench: Bench, token: str = "tok_visa") -> str:
    customer = await bench.provider.create_customer(Payer("acct"))
    return (await bench.provider.attach_method(customer.id, token)).id


async def test_a_kept_method_is_charged_at_once(bench: Bench) -> None:
    payment = await bench.top_up(1000, method=await a_method(bench))
    assert (payment.state, bench.balance()) == ("succeeded", 10 * NANOS)
    assert '"last4": "4242"' in payment.method


async def test_a_declined_method_is_a_failed_payment_that_stays_one(bench: Bench) -> None:
    method = await a_method(bench, "tok_declined")
    with pytest.raises(PaymentFailed, match="Your card was declined") as failed:
        await bench.top_up(1000, "order-1", method=method)
    assert isinstance(failed.value, Declined)
    assert (await bench.top_up(1000, "order-1", method=method)).state == "failed"
    assert len(bench.sandbox.payments) == 1
    assert bench.balance() == 0


async def test_a_card_that_asks_leads_to_a_page_and_then_pays(bench: Bench) -> None:
    payment = await bench.top_up(1000, method=await a_method(bench, "tok_authenticate"))
    assert (payment.state, payment.url != "") == ("pending", True)
    from metergate.provider_port.http import ask

    await ask("POST", payment.url, body=b"confirm=yes")
    assert (await bench.cashier.verify(payment.id)).state == "succeeded"
    assert bench.balance() == 10 * NANOS


async def test_a_declined_page_can_be_paid_with_another_card(bench: Bench) -> None:
    payment = await bench.top_up(1000)
    await bench.pay(payment, "4000000000000002")
    assert (await bench.cashier.verify(payment.id)).state == "failed"
    await bench.pay(payment)
    assert (await bench.cashier.verify(payment.id)).state == "succeeded"
    assert bench.balance() == 10 * NANOS


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("fault", ["busy", "broken", "lost"])
async def test_the_same_id_again_pays_once_whatever_went_wrong(bench: Bench, fault: str, kept: bool) -> None:
    method = await a_method(bench) if kept else ""
    for kind in ("well", fault):  # after the customer was made
        bench.server.fault({"kind": kind})
    try:
        payment = await bench.top_up(1000, "order-1", method=method)
    except ProviderError:
        payment = await bench.top_up(1000, "order-1", method=method)
    if not kept:
        await bench.pay(payment)
    payment = await bench.cashier.verify("order-1")
    assert (payment.state, bench.balance()) == ("succeeded", 10 * NANOS)
    assert len(bench.sandbox.payments) == 1
    assert await bench.differences() == []


async def test_a_charge_that_nobody_answered_is_found_by_the_worker(bench: Bench) -> None:
    method = await a_method(bench)
    for kind in ("well", "lost", "broken"):
        bench.server.fault({"kind": kind})
    with pytest.raises(UnknownOutcome):
        await bench.top_up(1000, "order-1", method=method)
    assert (await bench.payment("order-1")).unknown
    bench.clock.advance(seconds=90)
    await bench.rounds.run_once()
    assert ((await bench.payment("order-1")).state, bench.balance()) == ("succeeded", 10 * NANOS)


async def test_a_process_that_died_before_it_asked_goes_on_with_the_same_payment(bench: Bench) -> None:
    payment = await bench.top_up(1000, "order-1")
    lost = {"checkout_id": None, "url": "", "unknown": True}
    await bench.ledger.write(lambda tx: payments.change(tx, payment.id, **lost))
    again = await bench.top_up(1000, "order-1")
    assert again.url == payment.url or again.external_id == f"pay_{payment.id}"
    assert len(bench.sandbox.payments) == 1


async def test_who_does_not_know_asks_before_anything_is_sent_again(bench: Bench) -> None:
    method = await a_method(bench)
    for kind in ("well", "lost", "broken"):
        bench.server.fault({"kind": kind})
    with pytest.raises(UnknownOutcome):
        await bench.top_up(1000, "order-1", method=method)
    bench.server.asked.clear()
    assert (await bench.top_up(1000, "order-1", method=method)).state == "succeeded"
    assert list(bench.server.asked) == ["payments/find"]


async def test_an_id_means_one_payment(bench: Bench) -> None:
    first = await bench.top_up(1000, "order-1")
    assert await bench.top_up(1000, "order-1") == first
    with pytest.raises(Conflict, match="order-1 was asked for with other contents"):
        await bench.top_up(1001, "order-1")


async def test_a_part_that_was_not_captured_leaves_the_whole_to_be(bench: Bench) -> None:
    payment = await bench.top_up(1000, capture=False)
    await bench.pay(payment)
    bench.server.fault({"kind": "well"})
    bench.server.fault({"kind": "busy"})
    with pytest.raises(ProviderError):
        await bench.cashier.capture(payment.id, Money(400, "USD"))
    taken = await bench.cashier.capture(payment.id)
    assert (taken.state, taken.minor, bench.balance()) == ("succeeded", 1000, 10 * NANOS)


async def test_a_part_is_captured_and_gives_its_part_of_the_credits(bench: Bench) -> None:
    payment = await bench.top_up(1000, capture=False)
    await bench.pay(payment)
    held = await bench.cashier.verify(payment.id)
    assert (held.state, held.capturable, bench.balance()) == ("pending", True, 0)
    await bench.cashier.capture(payment.id, Money(400, "USD"))
    taken = await bench.cashier.capture(payment.id, Money(400, "USD"))
    assert (taken.state, taken.paid_minor, bench.balance()) == ("succeeded", 400, 4 * NANOS)
    assert await bench.differences() == []


async def test_what_was_authorised_is_let_go(bench: Bench) -> None:
    payment = await bench.top_up(1000, capture=False)
    await bench.pay(payment)
    assert (await bench.cashier.cancel(payment.id)).state == "canceled"
    with pytest.raises(InvalidInput, match="not authorised"):
        await bench.cashier.capture(payment.id)


async def test_what_no_provider_ever_heard_of_is_given_up(bench: Bench) -> None:
    bench.server.fault({"kind": "busy"})
    with pytest.raises(ProviderError):
        await bench.top_up(1000, "order-1")
    assert (await bench.cashier.cancel("order-1")).state == "canceled"
    assert (await bench.top_up(1000, "order-1")).state == "canceled"
    assert bench.sandbox.sales == {}


@pytest.mark.parametrize(
    ("minor", "currency", "says"), [(0, "USD", "above zero"), (500, "JPY", "kept in USD")]
)
async def test_what_cannot_be_paid_is_refused_before_anything_is_made(
    bench: Bench, minor: int, currency: str, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        await bench.top_up(minor, currency=currency)
    assert await bench.payments() == []


async def test_a_plan_that_was_paid_is_the_plan_of_the_account(bench: Bench) -> None:
    payment = await bench.top_up(900, kind="plan", subject="growth", every="month")
    await bench.pay(payment)
    await bench.deliver(bench.deliveries())
    await bench.handle()
    assert (await bench.office.accounts.show("acct"))["plan"] == "growth"
    assert bench.balance() == 0
    id = f"sub_{payment.id}"
    bench.sandbox.cancel_subscription(id, at_period_end=True)
    bench.sandbox.renew(id)
    await bench.deliver(bench.deliveries())
    await bench.handle()
    assert (await bench.office.accounts.show("acct"))["plan"] is None


async def test_a_customer_is_made_once_and_can_be_moved(bench: Bench) -> None:
    from metergate.ledger import accounts, customers

    await bench.top_up(1000)
    await bench.top_up(1000)
    assert list(bench.sandbox.customers) == ["cus_acct"]
    await bench.provider.create_customer(Payer("older"))
    account = await bench.ledger.read(lambda tx: accounts.known(tx, "acct"))
    opened = bench.cashier.providers.get("sandbox")
    await bench.cashier.import_customer(opened, account, "cus_older")
    history = await bench.ledger.read(lambda tx: customers.of(tx, "acct"))
    assert [(each.external_id, each.until_us is None) for each in history] == [
        ("cus_acct", False),
        ("cus_older", True),
    ]
    with pytest.raises(InvalidInput, match="has no customer cus_nobody"):
        await bench.cashier.import_customer(opened, account, "cus_nobody")


async def a_subscription(bench: Bench) -> str:
    payment = await bench.top_up(900, "sub-1", kind="plan", subject="growth", every="month")
    await bench.pay(payment)
    return f"sub_{payment.id}"


async def test_a_subscription_that_ended_stays_ended_whatever_comes_late(bench: Bench) -> None:
    """The news of its end is handled before that of its first payment."""
    id = await a_subscription(bench)
    bench.sandbox.cancel_subscription(id, at_period_end=False)
    for body in reversed(bench.deliveries()):
        await bench.deliver([body])
        await bench.handle()
    assert (await bench.payment("sub-1")).state == "succeeded"
    assert (await bench.office.accounts.show("acct"))["plan"] in (None, "free")


async def hear(bench: Bench) -> str | None:
    """All news that there is, also what came before; the plan that the account has then."""
    await bench.deliver(bench.deliveries())
    await bench.handle()
    plan = (await bench.office.accounts.show("acct"))["plan"]
    assert plan is None or isinstance(plan, str)
    return plan


async def test_the_newest_subscription_that_is_paid_says_the_plan(bench: Bench) -> None:
    """Who buys another plan keeps it when the older one is renewed, and falls back to what he pays for."""
    older = await a_subscription(bench)
    assert await hear(bench) == "growth"
    bench.clock.advance(seconds=60)
    newer = await bench.top_up(2900, "sub-2", kind="plan", subject="scale", every="month")
    await bench.pay(newer)
    assert await hear(bench) == "scale"
    bench.clock.advance(seconds=60)
    bench.sandbox.renew(older)
    assert await hear(bench) == "scale"
    bench.clock.advance(seconds=60)
    bench.sandbox.cancel_subscription(f"sub_{newer.id}", at_period_end=False)
    assert await hear(bench) == "growth"


async def test_a_plan_that_another_took_the_place_of_is_not_renewed(bench: Bench) -> None:
    """Its period is paid, and it ends with it; the newer one goes on."""
    older = await a_subscription(bench)
    assert await hear(bench) == "growth"
    bench.clock.advance(seconds=60)
    newer = await bench.top_up(2900, "sub-2", kind="plan", subject="scale", every="month")
    await bench.pay(newer)
    await bench.rounds.run_once()
    assert not bench.sandbox.subscriptions[older].ends
    assert await hear(bench) == "scale"
    for _ in range(2):
        bench.clock.advance(seconds=120)
        await bench.rounds.run_once()
        assert bench.sandbox.subscriptions[older].ends
        assert not bench.sandbox.subscriptions[f"sub_{newer.id}"].ends
    assert await hear(bench) == "scale"


async def test_who_pays_for_a_plan_twice_keeps_it_until_both_have_ended(bench: Bench) -> None:
    first = await a_subscription(bench)
    second = await bench.top_up(900, "sub-2", kind="plan", subject="growth", every="month")
    await bench.pay(second)
    await hear(bench)
    for id, plan in ((first, "growth"), (f"sub_{second.id}", None)):
        bench.clock.advance(seconds=60)
        bench.sandbox.cancel_subscription(id, at_period_end=False)
        assert await hear(bench) == plan


async def test_a_subscription_whose_end_is_the_first_that_is_heard_of_it_gives_no_plan(bench: Bench) -> None:
    """The payer came back from the page, and ended it before any of its news was handled."""
    id = await a_subscription(bench)
    await bench.cashier.verify("sub-1")
    assert (await bench.office.accounts.show("acct"))["plan"] == "growth"
    bench.sandbox.cancel_subscription(id, at_period_end=False)
    assert await hear(bench) is None


async def test_a_renewal_that_nobody_told_us_of_is_asked_for(bench: Bench) -> None:
    id = await a_subscription(bench)
    await bench.deliver(bench.deliveries())
    await bench.handle()
    bench.sandbox.renew(id, "unpaid")
    bench.clock.advance(seconds=32 * 86_400)
    await bench.rounds.run_once()
    assert (await bench.office.accounts.show("acct"))["plan"] is None


async def test_renewals_that_nobody_answers_do_not_keep_those_of_others_waiting(bench: Bench) -> None:
    """More than one batch that the provider does not know any more, before the one that it does."""
    id = await a_subscription(bench)
    await bench.deliver(bench.deliveries())
    await bench.handle()

    def older(tx: Tx) -> None:
        mine = subscriptions.get(tx, "sub-1")
        assert mine is not None
        for number in range(45):
            gone = mine._replace(id=f"gone-{number}", external_id=f"gone-{number}", updated_at_us=number)
            subscriptions.put(tx, gone._replace(state="unpaid"))

    await bench.ledger.write(older)
    bench.sandbox.renew(id, "unpaid")
    bench.clock.advance(seconds=32 * 86_400)
    bench.server.asked.clear()
    for _ in range(3):
        await bench.rounds.run_once()
    assert (await bench.office.accounts.show("acct"))["plan"] is None
    assert bench.server.asked.count("subscriptions/fetch") == 46
    await bench.rounds.run_once()
    assert bench.server.asked.count("subscriptions/fetch") == 46  # the others have their hour


async def test_renewals_cost_a_provider_that_is_away_one_question_in_a_round(bench: Bench) -> None:
    """Each question may take a time-out, and the news of all others waits meanwhile."""
    for id in ("sub-1", "sub-2", "sub-3"):
        payment = await bench.top_up(900, id, kind="plan", subject="growth", every="month")
        await bench.pay(payment)
    await bench.deliver(bench.deliveries())
    await bench.handle()
    bench.clock.advance(seconds=32 * 86_400)
    bench.server.fault({"kind": "broken", "times": 1000})
    bench.server.asked.clear()
    await bench.rounds.run_once()
    assert list(bench.server.asked) == ["subscriptions/fetch"]
    bench.server.well()
    bench.clock.advance(seconds=3601)
    await bench.rounds.run_once()
    assert bench.server.asked.count("subscriptions/fetch") == 4


class Chain:
    """A provider that is told of transactions, and believes each of them."""

    live = False

    async def health(self) -> ProviderHealth:
        return ProviderHealth(ok=True)

    async def close(self) -> None: ...

    async def open_checkout(self, order: Order) -> Checkout:
        return Checkout(f"amount-{order.id}", "")

    async def claim_payment(self, order: str, transaction: str, signature: str) -> PaymentFacts:
        return PaymentFacts(transaction, order, "succeeded", Money(900, "USD"), live=False)


async def test_who_claimed_a_transaction_is_in_the_books(bench: Bench) -> None:
    chain = Providers([Opened("chain", Chain(), "chain")], [Rule("chain")])
    cashier = Cashier(lambda: bench.office.desk, lambda: chain, bench.clock, shared=False)
    await cashier.pay(Wanted("acct", Money(900, "USD"), credits=9 * NANOS), "order-1")
    assert (await cashier.claim("order-1", "0xabc", actor="customer")).state == "succeeded"
    [row] = (await bench.office.do("audit.list", {"subject": "order-1"}))["data"][:1]
    assert (row["actor"], row["action"], row["details"]) == (
        "customer",
        "payment.claim",
        {"transaction": "0xabc"},
    )


async def test_a_plan_is_not_sold_by_who_cannot_renew_it(bench: Bench) -> None:
    class Once:
        live = False

        async def health(self) -> ProviderHealth:
            return ProviderHealth(ok=True)

        async def close(self) -> None: ...

    once = Providers([Opened("once", Once(), "once")], [Rule("once")])
    cashier = Cashier(lambda: bench.office.desk, lambda: once, bench.clock, shared=False)
    wanted = Wanted("acct", Money(900, "USD"), "plan", subject="growth")
    with pytest.raises(ProviderError, match="once cannot renew plans"):
        await cashier.pay(wanted)
    assert await bench.payments() == []
