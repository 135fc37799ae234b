"""What a stranger sends, or what is not what was asked for, gives nothing and stays visible."""

import json
from collections.abc import Callable

import pytest

from metergate.billing import Cashier, Inbox, Opened, Providers, Rounds, Rule, Wanted
from metergate.errors import InvalidInput
from metergate.ledger.inbox import DEAD, DONE, IGNORED, REFUSED, WAITING
from metergate.provider_port import (
    PAYMENT,
    SUCCEEDED,
    Forged,
    Money,
    PaymentFacts,
    ProviderEvent,
    ProviderHealth,
)
from metergate_sandbox.news import signed
from metergate_sandbox.shapes import from_json, to_json
from tests.billing.bench import KEY, NANOS, SECRET, Bench


async def test_forged_and_old_news_is_refused_before_it_is_kept(bench: Bench) -> None:
    await bench.paid()
    body = bench.deliveries()[-1]
    forged = signed(body, "a stranger's secret", bench.clock())
    old = signed(body, SECRET, bench.clock() - 600 * 10**6)
    for headers in ({}, forged, old):
        with pytest.raises(Forged):
            await bench.inbox.receive("sandbox", headers, body)
    assert await bench.events() == []
    assert bench.inbox.forged == {"sandbox": 3}
    assert bench.balance() == 0


async def test_nobody_who_is_no_provider_of_ours_tells_us_anything(bench: Bench) -> None:
    with pytest.raises(InvalidInput, match="No payment provider stripe tells us anything"):
        await bench.inbox.receive("stripe", {}, b"{}")


Lie = Callable[[PaymentFacts], PaymentFacts]
LIES: dict[str, tuple[Lie, str]] = {
    "under-paid": (lambda facts: facts._replace(amount=Money(1998, "USD")), "Only 1998 of 1999 was paid"),
    "another currency": (lambda facts: facts._replace(amount=Money(1999, "JPY")), "JPY"),
    "another order": (lambda facts: facts._replace(order="pay_another"), "pays pay_another"),
    "live mode": (lambda facts: facts._replace(live=True), "live mode"),
    "another customer": (lambda facts: facts._replace(customer="cus_stranger"), "cus_stranger paid"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_does_not_match_our_order_gives_nothing_and_is_visible(bench: Bench, lie: str) -> None:
    payment = await bench.paid()
    there = f"pay_{payment.id}"
    change, why = LIES[lie]
    bench.sandbox.payments[there] = change(bench.sandbox.payments[there])
    await bench.deliver(bench.deliveries())
    await bench.handle()
    assert bench.balance() == 0
    assert why in (await bench.payment(payment.id)).mismatch
    last = (await bench.events())[0]
    assert (last.state, why in last.detail) == (REFUSED, True)
    assert await bench.differences() == []


async def test_what_matches_after_all_is_believed(bench: Bench) -> None:
    payment = await bench.paid()
    there = f"pay_{payment.id}"
    true = bench.sandbox.payments[there]
    bench.sandbox.payments[there] = true._replace(amount=Money(1, "USD"))
    assert (await bench.cashier.verify(payment.id)).mismatch
    bench.sandbox.payments[there] = true
    assert (await bench.cashier.verify(payment.id)).mismatch == ""
    assert bench.balance() == 1999 * NANOS // 100


async def test_an_event_of_the_other_mode_is_refused(bench: Bench) -> None:
    await bench.paid()
    event = from_json(ProviderEvent, json.loads(bench.deliveries()[-1]))
    await bench.deliver([json.dumps(to_json(event._replace(live=True))).encode()])
    await bench.handle()
    [row] = await bench.events()
    assert (row.state, bench.balance()) == (REFUSED, 0)
    assert "not of test mode" in row.detail


async def test_an_event_about_somebody_else_is_ignored_and_kept(bench: Bench) -> None:
    facts = PaymentFacts("pay_theirs", "theirs", SUCCEEDED, Money(5000, "USD"), live=False)
    bench.sandbox.payments["pay_theirs"] = facts
    event = ProviderEvent("evt_theirs", "payment.succeeded", PAYMENT, "pay_theirs", live=False)
    await bench.deliver([json.dumps(to_json(event)).encode()])
    await bench.handle()
    [row] = await bench.events()
    assert (row.state, row.detail) == (IGNORED, "It is about no payment of ours.")
    assert bench.balance() == 0


async def test_an_event_that_no_database_would_repeat_keeps_no_other_waiting(any_bench: Bench) -> None:
    await any_bench.paid()
    strange = ProviderEvent("evt_0", "payment.succeeded", PAYMENT, "pay_\0", live=False)
    await any_bench.deliver([json.dumps(to_json(strange)).encode(), *any_bench.deliveries()])
    await any_bench.handle()
    assert any_bench.balance() == 1999 * NANOS // 100
    assert (await any_bench.events())[-1].state == IGNORED


async def test_a_provider_pays_no_order_that_another_was_asked_for(bench: Bench) -> None:
    """Not even one that names it, with the right amount and a signature of its own."""
    payment = await bench.top_up()
    server, second = await bench.another_sandbox()
    both = Providers([*bench.cashier.providers.all, Opened("second", second, "sandbox")], [Rule("sandbox")])
    cashier = Cashier(lambda: bench.office.desk, lambda: both, bench.clock, shared=False)
    inbox = Inbox(cashier)
    facts = PaymentFacts("pay_theirs", payment.id, SUCCEEDED, Money(1999, "USD"), live=False)
    server.sandbox.payments["pay_theirs"] = facts
    event = ProviderEvent("evt", "payment.succeeded", PAYMENT, "pay_theirs", live=False, order=payment.id)
    body = json.dumps(to_json(event)).encode()
    await inbox.receive("second", server.news.headers(body), body)
    await inbox.handle_some()
    [row] = await bench.events()
    assert (row.state, bench.balance()) == (IGNORED, 0)
    assert (await bench.payment(payment.id)).state == "pending"


class Real:
    """A provider that moves real money."""

    live = True

    async def health(self) -> ProviderHealth:
        return ProviderHealth(ok=True)

    async def close(self) -> None: ...


async def test_who_pays_real_money_cannot_choose_play_money_by_its_name(bench: Bench) -> None:
    """Only a rule brings an account to a provider of test mode, where real ones are at work."""
    both = [*bench.cashier.providers.all, Opened("real", Real(), "real")]
    rules = [Rule("sandbox", {"account": "test-*"}), Rule("real")]
    cashier = Cashier(lambda: bench.office.desk, lambda: Providers(both, rules), bench.clock, shared=False)
    await bench.office.accounts.create("test-1")
    wanted = Wanted("acct", Money(1999, "USD"), credits=1999 * NANOS // 100, provider="sandbox")
    with pytest.raises(InvalidInput, match="No real money moves at sandbox"):
        await cashier.pay(wanted)
    assert await bench.payments() == []
    assert (await cashier.pay(wanted._replace(account="test-1"))).url


async def test_a_second_payment_for_one_order_gives_nothing(bench: Bench) -> None:
    payment = await bench.paid()
    await bench.cashier.verify(payment.id)
    first = bench.sandbox.payments[f"pay_{payment.id}"]
    settled = await bench.cashier.settled(payment.id, first._replace(id="pay_twice"))
    assert "pay_twice is another payment" in settled.payment.mismatch
    assert bench.balance() == 1999 * NANOS // 100


async def test_an_event_waits_for_a_provider_that_is_away_and_is_handled_later(bench: Bench) -> None:
    await bench.paid()
    await bench.deliver(bench.deliveries()[-1:])
    bench.server.fault({"kind": "broken"})
    await bench.handle()
    [row] = await bench.events()
    assert (row.state, row.tries, bench.balance()) == (WAITING, 1, 0)
    bench.clock.advance(seconds=10)
    await bench.handle()
    assert ((await bench.events())[0].state, bench.balance()) == (DONE, 1999 * NANOS // 100)


async def test_what_was_tried_too_often_is_dead_until_somebody_replays_it(bench: Bench) -> None:
    from metergate.ledger import inbox

    await bench.paid()
    await bench.deliver(bench.deliveries()[-1:])
    bench.server.fault({"kind": "broken", "times": 90})
    for _ in range(90):
        await bench.handle()
        bench.clock.advance(seconds=7200)
    [row] = await bench.events()
    assert (row.state, bench.balance()) == (DEAD, 0)
    await bench.ledger.write(lambda tx: inbox.replay(tx, bench.clock(), event_id=row.event_id))
    await bench.handle()
    assert ((await bench.events())[0].state, bench.balance()) == (DONE, 1999 * NANOS // 100)


async def test_a_provider_that_asks_to_be_left_alone_is_not_asked_meanwhile(bench: Bench) -> None:
    """Neither for the event that heard so, nor for the one behind it, for which that is no try."""
    for id in ("p1", "p2"):
        await bench.paid(id=id)
    await bench.deliver(body for body in bench.deliveries() if b"succeeded" in body)
    bench.server.fault({"kind": "busy", "after_s": 600})
    bench.server.asked.clear()
    await bench.handle()
    assert list(bench.server.asked) == ["payments/fetch"]
    bench.clock.advance(seconds=599)
    await bench.handle()
    await bench.rounds.run_once()
    assert list(bench.server.asked) == ["payments/fetch"]
    assert [(each.state, each.tries) for each in await bench.events()] == [(WAITING, 0), (WAITING, 1)]
    bench.clock.advance(seconds=1)
    await bench.handle()
    assert {each.state for each in await bench.events()} == {DONE}
    assert bench.balance() == 2 * 1999 * NANOS // 100


async def test_a_provider_that_is_away_costs_one_question_and_keeps_no_other_waiting(bench: Bench) -> None:
    """Each question may take a time-out, and there may be thousands of events and payments."""
    for id in ("p1", "p2", "p3"):
        await bench.paid(id=id)
    await bench.deliver(body for body in bench.deliveries() if b"succeeded" in body)
    _, second = await bench.another_sandbox()
    both = Providers([*bench.cashier.providers.all, Opened("second", second, "sandbox")], [Rule("second")])
    cashier = Cashier(lambda: bench.office.desk, lambda: both, bench.clock, shared=False)
    rounds = Rounds(cashier, Inbox(cashier))
    other = await cashier.pay(Wanted("acct", Money(500, "USD"), credits=5 * NANOS))
    await bench.pay(other)
    bench.clock.advance(seconds=61)
    bench.server.fault({"kind": "broken", "times": 1000})
    bench.server.asked.clear()
    await rounds.run_once()
    assert list(bench.server.asked) == ["payments/fetch", "payments/fetch"]  # one for news, one for payments
    assert bench.balance() == 5 * NANOS
    bench.server.well()
    bench.clock.advance(seconds=61)
    await rounds.run_once()
    assert bench.balance() == 5 * NANOS + 3 * 1999 * NANOS // 100


async def test_nobody_is_left_alone_for_more_than_a_day(bench: Bench) -> None:
    await bench.paid()
    await bench.deliver(bench.deliveries()[-1:])
    bench.server.fault({"kind": "busy", "after_s": 10**12})
    await bench.handle()
    bench.clock.advance(seconds=86_400)
    await bench.handle()
    assert bench.balance() == 1999 * NANOS // 100


async def test_who_dies_with_events_in_hand_leaves_them_to_others(bench: Bench) -> None:
    from metergate.ledger import inbox

    await bench.paid()
    await bench.deliver(bench.deliveries()[-1:])
    assert len(await bench.ledger.write(lambda tx: inbox.take(tx, "sandbox", bench.clock(), 10))) == 1
    await bench.handle()
    assert bench.balance() == 0
    bench.clock.advance(seconds=61)
    await bench.handle()
    assert bench.balance() == 1999 * NANOS // 100


async def test_the_key_of_the_sandbox_is_not_kept_with_what_it_told(bench: Bench) -> None:
    await bench.paid()
    body = bench.deliveries()[-1]
    headers = {**bench.server.news.headers(body), "authorization": f"Bearer {KEY}", "cookie": "a=b"}
    await bench.inbox.receive("sandbox", headers, body)
    [row] = await bench.events()
    assert row.body == body
    assert set(json.loads(row.headers)) == {"content-type", "sandbox-signature"}
