"""Refunds and lost disputes take their credits back; what was spent already is recorded debt."""

import pytest

from metergate.billing import refunding
from metergate.errors import InvalidInput, ProviderError
from metergate.ledger import Conflict, balances
from metergate.provider_port import LOST, WON, DisputeFacts, Money, RefundFacts, TryAgain
from tests.billing.bench import NANOS, Bench


async def a_paid_one(bench: Bench, minor: int = 1000) -> str:
    payment = await bench.paid(minor)
    await bench.cashier.verify(payment.id)
    return payment.id


async def test_a_full_refund_leaves_nothing(bench: Bench) -> None:
    id = await a_paid_one(bench)
    made = await refunding.refund(bench.cashier, id, None, "ref-1")
    assert (made.state, made.minor, made.taken) == ("succeeded", 1000, 10 * NANOS)
    assert bench.balance() == 0
    assert await bench.differences() == []


async def test_refunds_that_name_none_of_ours_are_each_taken_once(bench: Bench) -> None:
    """A provider that keeps no id of ours, and two refunds of one amount of which only the first is known."""
    id = await a_paid_one(bench)
    bench.server.fault({"kind": "well"})
    bench.server.fault({"kind": "busy"})
    with pytest.raises(ProviderError):
        await refunding.refund(bench.cashier, id, Money(400, "USD"), "ref-1")
    facts = await bench.provider.fetch_payment(f"pay_{id}")
    assert facts is not None
    back = tuple([RefundFacts(name, Money(400, "USD"), "succeeded") for name in ("A", "B")])
    for each in (back, back[::-1]):
        await bench.cashier.settled(id, facts._replace(refunds=each))
        assert bench.balance() == 2 * NANOS
    assert await bench.differences() == []


async def test_a_refund_is_heard_of_after_a_day_in_which_its_provider_did_not_answer(bench: Bench) -> None:
    """Nobody asks for a payment that is paid, so the news of it is all that there is."""
    id = await a_paid_one(bench)
    bench.sandbox.refund(f"pay_{id}", Money(1000, "USD"), "by-hand")
    await bench.deliver(bench.deliveries()[-1:])
    bench.server.fault({"kind": "broken", "times": 1000})
    for _ in range(60):
        await bench.handle()
        bench.clock.advance(seconds=1800)
    assert bench.balance() == 10 * NANOS
    bench.server.well()
    bench.clock.advance(seconds=3600)
    await bench.handle()
    assert bench.balance() == 0


async def test_parts_go_back_and_the_same_refund_again_is_the_same(bench: Bench) -> None:
    id = await a_paid_one(bench)
    for _ in range(3):
        await refunding.refund(bench.cashier, id, Money(400, "USD"), "ref-1")
    assert bench.balance() == 6 * NANOS
    with pytest.raises(Conflict, match="other contents"):
        await refunding.refund(bench.cashier, id, Money(300, "USD"), "ref-1")
    with pytest.raises(InvalidInput, match=r"6\.00 USD left"):
        await refunding.refund(bench.cashier, id, Money(601, "USD"), "ref-2")
    await refunding.refund(bench.cashier, id, None, "ref-3")
    assert bench.balance() == 0
    assert len(bench.sandbox.payments[f"pay_{id}"].refunds) == 2
    assert await bench.differences() == []


async def test_credit_that_was_spent_becomes_debt_and_the_next_top_up_pays_it(bench: Bench) -> None:
    id = await a_paid_one(bench)
    await bench.spend(7 * NANOS)
    await refunding.refund(bench.cashier, id, None, "ref-1")
    assert bench.balance() == -7 * NANOS
    owed = await bench.ledger.read(lambda tx: balances.derived_accounts(tx)[("acct", "USD")].debt)
    assert owed == 7 * NANOS
    await a_paid_one(bench, 800)
    assert bench.balance() == 1 * NANOS
    assert await bench.differences() == []


async def test_a_refund_takes_its_own_grant_before_that_of_others(bench: Bench) -> None:
    await bench.office.credits.grant("acct", "3.00", id="gift", promotional=True)
    id = await a_paid_one(bench)
    await refunding.refund(bench.cashier, id, None, "ref-1")
    left = await bench.ledger.read(
        lambda tx: {each.id: each.remaining for each in balances.grants_left(tx, "acct")}
    )
    assert left == {"gift": 3 * NANOS}


async def test_a_dispute_takes_nothing_until_it_is_lost(bench: Bench) -> None:
    id = await a_paid_one(bench)
    there = f"pay_{id}"
    for state, left in (("open", 10), (WON, 10), (LOST, 0), (LOST, 0), ("open", 0)):
        bench.sandbox.dispute(there, DisputeFacts("dp_1", Money(1000, "USD"), state))
        await bench.cashier.verify(id)
        assert bench.balance() == left * NANOS
    assert await bench.differences() == []


async def test_a_dispute_that_is_won_after_it_was_lost_gives_the_credits_back(bench: Bench) -> None:
    """And takes them again when it is lost again, however often anybody asks."""
    id = await a_paid_one(bench)
    await bench.spend(4 * NANOS)
    for state, left in ((LOST, -4), (WON, 6), (WON, 6), (LOST, -4), (WON, 6)):
        bench.clock.advance(seconds=60)
        bench.sandbox.dispute(f"pay_{id}", DisputeFacts("dp_1", Money(1000, "USD"), state))
        for _ in range(2):
            await bench.cashier.verify(id)
        assert bench.balance() == left * NANOS
        assert await bench.differences() == []


async def test_what_a_won_dispute_leaves_free_a_refund_takes(bench: Bench) -> None:
    """Together they had taken all that there was; thirds of a nano are not lost on the way."""
    id = await a_paid_one(bench, 999)
    bench.sandbox.dispute(f"pay_{id}", DisputeFacts("dp_1", Money(999, "USD"), LOST))
    bench.sandbox.refund(f"pay_{id}", Money(333, "USD"), "by-hand")
    await bench.cashier.verify(id)
    assert bench.balance() == 0
    bench.clock.advance(seconds=60)
    bench.sandbox.dispute(f"pay_{id}", DisputeFacts("dp_1", Money(999, "USD"), WON))
    await bench.cashier.verify(id)
    assert bench.balance() == 6_660_000_000
    assert await bench.differences() == []


async def test_a_refund_that_fails_late_gives_the_credits_back(bench: Bench) -> None:
    id = await a_paid_one(bench)
    await refunding.refund(bench.cashier, id, None, "ref-1")
    assert bench.balance() == 0
    there = bench.sandbox.payments[f"pay_{id}"]
    failed = there.refunds[0]._replace(state="failed")
    bench.sandbox.payments[f"pay_{id}"] = there._replace(refunds=(failed,))
    bench.clock.advance(seconds=60)
    await bench.cashier.verify(id)
    assert bench.balance() == 10 * NANOS
    assert await bench.differences() == []


async def test_what_was_paid_too_much_is_visible_and_goes_back_first(bench: Bench) -> None:
    """The account gets what it ordered; the rest takes no credits with it when it goes back."""
    payment = await bench.paid(1000)
    there = f"pay_{payment.id}"
    paid = bench.sandbox.payments[there]
    bench.sandbox.payments[there] = paid._replace(amount=Money(1250, "USD"))
    await bench.deliver(bench.deliveries()[-1:])
    await bench.handle()
    shown = await bench.office.payments.show(payment.id)
    assert (shown["paid"]["amount"], shown["overpaid"]["amount"]) == ("12.50", "2.50")
    assert "250 more was paid" in (await bench.events())[0].detail
    assert bench.balance() == 10 * NANOS
    for amount, left in ((250, 10), (500, 5), (500, 0)):
        await refunding.refund(bench.cashier, payment.id, Money(amount, "USD"), f"ref-{left}")
        assert bench.balance() == left * NANOS
    noted = [each["action"] for each in (await bench.office.books.audit())["data"]]
    assert noted.count("payment.overpaid") == 1
    assert await bench.differences() == []


async def test_refund_and_dispute_of_one_payment_take_no_more_than_it_gave(bench: Bench) -> None:
    id = await a_paid_one(bench)
    await refunding.refund(bench.cashier, id, Money(600, "USD"), "ref-1")
    bench.sandbox.dispute(f"pay_{id}", DisputeFacts("dp_1", Money(1000, "USD"), LOST))
    await bench.cashier.verify(id)
    assert bench.balance() == 0
    assert await bench.differences() == []


@pytest.mark.parametrize("fault", ["busy", "broken", "lost"])
async def test_a_refund_whose_answer_was_lost_is_done_once(bench: Bench, fault: str) -> None:
    id = await a_paid_one(bench)
    for kind in ("well", "well", fault):  # after two questions about the payment
        bench.server.fault({"kind": kind, "times": 1})
    with pytest.raises(ProviderError):
        await refunding.refund(bench.cashier, id, Money(400, "USD"), "ref-1")
    bench.clock.advance(seconds=120)
    await bench.rounds.run_once()
    assert bench.balance() == 6 * NANOS
    assert len(bench.sandbox.payments[f"pay_{id}"].refunds) == 1
    assert await bench.differences() == []


async def test_a_refund_that_was_made_at_the_provider_counts_too(bench: Bench) -> None:
    id = await a_paid_one(bench)
    bench.sandbox.refund(f"pay_{id}", Money(250, "USD"), "made-by-hand")
    await bench.deliver(bench.deliveries())
    await bench.handle()
    assert bench.balance() == 7_500_000_000
    assert await bench.differences() == []


async def test_only_what_was_paid_goes_back(bench: Bench) -> None:
    payment = await bench.top_up()
    with pytest.raises(InvalidInput, match="is pending; only a paid one"):
        await refunding.refund(bench.cashier, payment.id, None, "ref-1")


async def test_a_busy_provider_says_so(bench: Bench) -> None:
    bench.server.fault({"kind": "busy"})
    with pytest.raises(TryAgain):
        await bench.top_up()
