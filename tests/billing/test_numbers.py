"""What an operator sees of money in: rates by provider and reason, what waits and is open, the alarms."""

import logging
from collections.abc import Mapping

import pytest

from metergate import alarms
from metergate.admin import money_shapes
from metergate.api import metrics
from metergate.billing import Addresses, Cashier, Inbox, Opened, Providers, Rule, Till
from metergate.billing.watching import Watching, WatchingPushes, together
from metergate.config import load
from metergate.errors import PaymentFailed, ProviderError
from metergate.ledger import inbox
from metergate.ledger.payment_tables import provider_events
from metergate.provider_port import Forged, Money, Payer
from tests.api.test_metrics import Sample, read
from tests.billing.bench import POLICY, Bench
from tests.billing.usage_bench import HOUR_US, ZERO_US, Pushing, Use

MINUTE = 60
SOLD = load(POLICY)


async def scraped(bench: Bench) -> Mapping[Sample, float]:
    await bench.rounds.run_once()
    numbers = bench.rounds.watching.numbers()
    return read(metrics.text({"policy": "", "open_holds": 0, "backlog": 0, **numbers}))


def one(found: Mapping[Sample, float], name: str, **labels: str) -> float:
    return found.get((name, tuple({"provider": "sandbox", **labels}.items())), 0)


async def test_calls_of_providers_are_counted_by_what_became_of_them(bench: Bench) -> None:
    customer = await bench.provider.create_customer(Payer("acct"))
    methods = [
        (await bench.provider.attach_method(customer.id, token)).id for token in ("tok_visa", "tok_declined")
    ]
    await bench.top_up(method=methods[0])
    with pytest.raises(PaymentFailed):
        await bench.top_up(method=methods[1])
    bench.server.fault({"kind": "busy"})
    with pytest.raises(ProviderError):
        await bench.top_up()
    found = await scraped(bench)
    assert one(found, "provider_calls_total", outcome="payment_declined") == 1
    assert one(found, "provider_calls_total", outcome="provider_busy") == 1
    assert one(found, "provider_calls_total", outcome="ok") >= 2
    assert one(found, "payments_total", state="succeeded") == 1
    assert one(found, "payments_total", state="failed") == 1
    assert one(found, "payments_open", age="15m") == 1
    shown = money_shapes.standing(bench.rounds.watching.numbers())
    assert shown["state"] == "ok"
    assert shown["by_provider"]["sandbox"]["payments"] == {"succeeded": 1, "failed": 1}


async def test_open_payments_grow_older_and_finished_ones_are_none(bench: Bench) -> None:
    await bench.paid(id="paid")
    await bench.top_up(id="open")
    await bench.cashier.verify("paid")
    ages = []
    for minutes in (0, 20, 100, 2000):
        bench.clock.advance(seconds=minutes * MINUTE)
        found = await scraped(bench)
        ages += [age for age in ("15m", "1h", "1d", "older") if one(found, "payments_open", age=age)]
    assert ages == ["15m", "1h", "1d", "older"]


async def test_news_that_waits_is_told_once_until_it_is_handled(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.paid()
    await bench.deliver(bench.deliveries()[-1:])
    bench.server.fault({"kind": "busy", "after_s": 600})
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            bench.clock.advance(seconds=150)
            await scraped(bench)
        bench.clock.advance(seconds=150)
        found = await scraped(bench)
        assert one(found, "webhooks_waiting") == 1
        assert one(found, "webhook_lag_seconds") == 450
        assert caplog.text.count(alarms.NEWS_WAITS.page) == 1
        bench.clock.advance(seconds=600)
        await scraped(bench)
    bench.clock.advance(seconds=11)
    assert one(await scraped(bench), "webhooks_waiting") == 0


async def test_news_that_is_given_up_is_a_gauge_and_an_alarm(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.paid()
    await bench.deliver(bench.deliveries()[-1:])
    await bench.ledger.write(lambda tx: tx.execute(provider_events.update().values(state=inbox.DEAD)))
    assert await bench.office.webhooks.state() == "degraded"
    found = await scraped(bench)
    assert one(found, "webhooks_dead") == 1
    assert caplog.text.count("1 events of payment providers were tried too often") == 1
    assert money_shapes.standing(bench.rounds.watching.numbers())["state"] == "degraded"


async def test_a_secret_that_signs_nothing_is_told_and_a_stranger_is_only_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def forge(times: int) -> None:
        for _ in range(times):
            with pytest.raises(Forged):
                await bench.inbox.receive("sandbox", {}, b"{}")

    await bench.paid()
    await forge(9)
    await bench.deliver(bench.deliveries()[:1])
    await forge(9)
    assert caplog.text == ""
    await forge(9)
    assert caplog.text.count(alarms.NEWS_FORGED.page) == 1
    assert one(await scraped(bench), "webhooks_forged_total") == 27


async def test_a_provider_that_is_away_for_minutes_is_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.top_up(id="open")

    async def ask(fault: str) -> None:
        bench.server.fault({"kind": fault})
        bench.clock.advance(seconds=100)
        try:
            await bench.cashier.verify("open")
        except ProviderError:
            assert fault != "well"

    for fault in ("broken", "well", "broken", "broken", "broken", "broken", "broken"):
        await ask(fault)
    assert caplog.text.count(alarms.PROVIDER_AWAY.page) == 1
    assert "for 300 seconds" in caplog.text


async def test_a_payment_that_does_not_match_is_told_and_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    payment = await bench.paid()
    there = f"pay_{payment.id}"
    true = bench.sandbox.payments[there]
    bench.sandbox.payments[there] = true._replace(amount=Money(1, "USD"))
    for _ in range(2):
        await bench.cashier.verify(payment.id)
    assert caplog.text.count(f"The payment {payment.id} is not believed") == 1
    found = await scraped(bench)
    assert one(found, "payments_mismatched") == one(found, "payments_total", state="mismatched") == 1
    bench.sandbox.payments[there] = true
    await bench.cashier.verify(payment.id)
    bench.clock.advance(seconds=11)
    assert one(await scraped(bench), "payments_mismatched") == 0


async def test_policies_of_one_process_are_counted_together_and_their_ledger_once(bench: Bench) -> None:
    await bench.top_up()
    providers = Providers([Opened("sandbox", bench.provider, "sandbox")], [Rule("sandbox")])
    other = Cashier(lambda: bench.office.desk, lambda: providers, bench.clock, shared=False)
    second = Watching(other, Inbox(other))
    for payment in await bench.payments():
        await other.verify(payment.id)
    await second.look()
    await bench.rounds.watching.look()
    merged = together([bench.rounds.watching.numbers(), second.numbers()])
    assert merged["provider_calls"] == [["sandbox", "ok", 3]]  # a customer, a page, a question
    assert merged["payments_open"] == [["sandbox", "15m", 1]]


async def test_usage_that_waits_for_a_provider_is_counted_and_told_once(
    pushing: Pushing, caplog: pytest.LogCaptureFixture
) -> None:
    watching = WatchingPushes(pushing.pusher)
    await pushing.use(Use(5, ZERO_US))
    pushing.bench.server.fault({"kind": "busy", "times": 1000})
    for _ in range(4):
        await pushing.later(HOUR_US)
        watching.look()
    assert caplog.text.count(alarms.PUSH_WAITS.page) == 1
    numbers = watching.numbers(None)
    found = read(metrics.text({"policy": "", "open_holds": 0, "backlog": 0, **numbers}))
    assert found["push_backlog", ()] == 1
    assert found["push_oldest_seconds", ()] > 3600
    assert found["push_total", (("outcome", "later"),)] >= 1
    assert not [name for name, _ in found if name == "push_drift"]
    assert money_shapes.standing(numbers)["state"] == "degraded"


async def test_usage_that_nobody_will_take_is_told(
    pushing: Pushing, caplog: pytest.LogCaptureFixture
) -> None:
    watching = WatchingPushes(pushing.pusher)
    await pushing.use(Use(5, ZERO_US))
    pushing.bench.sandbox.customers.clear()
    await pushing.later()
    watching.look()
    assert watching.numbers(None)["push_parked"] == [[1]]
    assert caplog.text.count(alarms.PUSH_PARKED.page) == 1


async def test_what_the_last_reconcile_found_is_a_number(
    pushing: Pushing, caplog: pytest.LogCaptureFixture
) -> None:
    bench = pushing.bench
    till = Till(
        bench.cashier, bench.inbox, lambda: SOLD, lambda: Addresses("", ()), lambda: None, pushing.pusher
    )
    await pushing.use(Use(5, ZERO_US))
    await pushing.later(2 * HOUR_US)
    assert till.drift is None
    await till.reconcile("", None, repair=False)
    assert till.drift == 0
    bench.sandbox.usage.counted.clear()
    await till.reconcile("", None, repair=False)
    assert till.drift == 1
    assert caplog.text.count(alarms.DRIFT.page) == 1
    assert WatchingPushes(pushing.pusher).numbers(till.drift)["drift"] == [[1]]
