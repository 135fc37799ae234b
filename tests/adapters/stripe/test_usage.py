"""Usage as meter events: once under its identifier, counted by summaries, and complained of afterwards."""

import json

import pytest

from metergate.provider_port import ACCEPTED, LATER, REJECTED, UNKNOWN, USAGE, Complaint, Item, UsageTotal
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.stripe.bench import Bench, a_bench
from tests.adapters.stripe.fake.metering import reported
from tests.adapters.stripe.fake.server import BURNED

HOUR_US = 3600 * 10**6
DAY_US = 24 * HOUR_US


async def metered(bench: Bench) -> str:
    """A customer, and a meter that Stripe knows."""
    await bench.stripe.sync_catalogue([Item("meter", "tokens", "Tokens", currency="USD")])
    return await bench.customer()


def a_total(bench: Bench, customer: str, units: int = 700, name: str = "mg_1") -> UsageTotal:
    return UsageTotal(name, customer, "tokens", units, bench.clock() - HOUR_US // 2)


async def status(bench: Bench, total: UsageTotal) -> str:
    [answer] = await bench.stripe.push_usage([total])
    return answer.status


async def counted(bench: Bench, customer: str) -> int:
    return await bench.stripe.usage_summary(customer, "tokens", bench.clock() - HOUR_US, bench.clock())


async def test_a_total_is_one_meter_event_inside_of_its_window(bench: Bench) -> None:
    customer = await metered(bench)
    total = a_total(bench, customer)
    assert await status(bench, total) == ACCEPTED
    assert bench.asked("/v1/billing/meter_events") == [
        {
            "event_name": "metergate_tokens",
            "identifier": "mg_1",
            "timestamp": str(total.at_us // 10**6),
            "payload": {"stripe_customer_id": customer, "value": "700"},
        }
    ]
    assert await status(bench, a_total(bench, customer, -100, "mg_2")) == ACCEPTED
    assert await counted(bench, customer) == 600


async def test_an_identifier_that_stripe_has_is_accepted_and_counts_once(bench: Bench) -> None:
    customer = await metered(bench)
    bench.fake.faults.append(UNANSWERED)
    assert await status(bench, a_total(bench, customer)) == UNKNOWN
    assert await status(bench, a_total(bench, customer)) == ACCEPTED
    assert await counted(bench, customer) == 700


@pytest.mark.parametrize(("fault", "becomes"), [(BROKEN, UNKNOWN), (BURNED, UNKNOWN), (BUSY, LATER)])
async def test_a_failure_of_stripe_is_not_repeated_by_its_key(bench: Bench, fault: str, becomes: str) -> None:
    customer = await metered(bench)
    bench.fake.busy_s = 7
    bench.fake.faults.append(fault)
    [answer] = await bench.stripe.push_usage([a_total(bench, customer)])
    assert (answer.status, answer.after_s) == (becomes, 7 if fault == BUSY else 0)
    assert await status(bench, a_total(bench, customer)) == ACCEPTED
    assert await counted(bench, customer) == 700


async def test_what_stripe_never_takes_is_rejected_with_its_reason(bench: Bench) -> None:
    customer = await metered(bench)
    total = a_total(bench, customer)
    told = [
        total._replace(customer="cus_nobody"),
        total._replace(meter="rows"),
        total._replace(at_us=total.at_us - 36 * DAY_US),
        total._replace(units=10**15),
    ]
    answers = await bench.stripe.push_usage(told)
    assert [each.status for each in answers] == [REJECTED] * 4
    assert "No such customer" in answers[0].detail
    assert "No active meter" in answers[1].detail
    assert "15 digits" in answers[3].detail
    assert await status(bench, total._replace(units=10**15 - 1)) == ACCEPTED


async def test_a_key_that_stripe_does_not_know_parks_nobody() -> None:
    async with a_bench(STRIPE_SECRET_KEY="sk_test_wrong") as bench:
        [answer] = await bench.stripe.push_usage([a_total(bench, "cus_1")])
        assert (answer.status, answer.after_s) == (LATER, 60)


async def test_a_stripe_that_cannot_be_reached_was_surely_told_nothing(bench: Bench) -> None:
    customer = await metered(bench)
    await bench.stripe.close()
    await bench.fake.close()
    assert await status(bench, a_total(bench, customer)) == LATER


async def test_a_summary_is_of_one_customer_and_meter_and_of_whole_minutes(bench: Bench) -> None:
    customer, other = await metered(bench), await bench.customer("acct_2")
    assert await status(bench, a_total(bench, customer)) == ACCEPTED
    assert await status(bench, a_total(bench, other, 1, "mg_2")) == ACCEPTED
    now_us = bench.clock()
    assert await bench.stripe.usage_summary(customer, "tokens", now_us - HOUR_US + 1, now_us - 1) == 700
    assert await bench.stripe.usage_summary(customer, "tokens", now_us - DAY_US, now_us - HOUR_US) == 0
    assert await bench.stripe.usage_summary(customer, "unknown", now_us - DAY_US, now_us) == 0


@pytest.mark.parametrize("by_key", [False, True])
async def test_an_error_report_names_the_totals_that_were_not_counted(bench: Bench, by_key: bool) -> None:
    """By their identifiers, or by the keys of their requests, which begin with those."""
    customer = await metered(bench)
    assert await status(bench, a_total(bench, customer)) == ACCEPTED
    [sent] = [each for each in bench.fake.seen if each.path == "/v1/billing/meter_events"]
    key = sent.headers["idempotency-key"] if by_key else ""
    event = reported(bench.store, "mg_1", "archived_meter", "The meter is archived.", key)
    body = bench.fake.body(event)
    assert "archived" not in json.dumps(event), "what is sent says nothing of it"
    [news] = await bench.stripe.read_webhook(bench.fake.signed(body), body)
    assert (news.kind, news.id) == (USAGE, event["id"])
    complaints = await bench.stripe.usage_complaints(news.id)
    assert complaints == [Complaint("mg_1", "archived_meter: The meter is archived.")]
    assert await counted(bench, customer) == 0
