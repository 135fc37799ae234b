"""What Stripe tells: what each kind of event is about, what proves it, and what is fetched."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.provider_port import (
    CUSTOMER,
    INVOICE,
    OTHER,
    PAYMENT,
    SUBSCRIPTION,
    USAGE,
    Forged,
    ProviderEvent,
)
from metergate_stripe.news import _read
from tests.adapters.stripe.bench import Bench, a_bench, an_order
from tests.adapters.stripe.fake.store import Json

CHARGE = {"object": "charge", "id": "ch_1", "payment_intent": "pi_1", "metadata": {"metergate_order": "o"}}
DISPUTE = {"object": "dispute", "id": "dp_1", "payment_intent": "pi_1", "charge": "ch_1"}
PAGE = {"object": "checkout.session", "id": "cs_1", "payment_intent": "pi_1"}
INTENT = {"object": "payment_intent", "id": "pi_1"}
REFUND = {"object": "refund", "id": "re_1", "payment_intent": "pi_1"}
OLD_REFUND = {**REFUND, "payment_intent": None, "charge": "ch_1"}
PLAN = {"object": "subscription", "id": "sub_1"}
BILL = {"object": "invoice", "id": "in_1"}
PART = {"object": "invoice_payment", "id": "inpay_1", "invoice": "in_1"}
ABOUT: dict[str, tuple[Json, str, str]] = {
    "checkout.session.completed": (PAGE, PAYMENT, "cs_1"),
    "checkout.session.async_payment_succeeded": (PAGE, PAYMENT, "cs_1"),
    "checkout.session.async_payment_failed": (PAGE, PAYMENT, "cs_1"),
    "checkout.session.expired": (PAGE, PAYMENT, "cs_1"),
    "payment_intent.succeeded": (INTENT, PAYMENT, "pi_1"),
    "payment_intent.payment_failed": (INTENT, PAYMENT, "pi_1"),
    "charge.refunded": (CHARGE, PAYMENT, "pi_1"),
    "refund.created": (REFUND, PAYMENT, "pi_1"),
    "refund.failed": (OLD_REFUND, PAYMENT, "ch_1"),
    "charge.dispute.created": (DISPUTE, PAYMENT, "pi_1"),
    "charge.dispute.closed": (DISPUTE, PAYMENT, "pi_1"),
    "customer.subscription.created": (PLAN, SUBSCRIPTION, "sub_1"),
    "customer.subscription.updated": (PLAN, SUBSCRIPTION, "sub_1"),
    "customer.subscription.deleted": (PLAN, SUBSCRIPTION, "sub_1"),
    "invoice.created": (BILL, INVOICE, "in_1"),
    "invoice.payment_succeeded": (BILL, INVOICE, "in_1"),
    "invoice.payment_failed": (BILL, INVOICE, "in_1"),
    "invoice.payment_action_required": (BILL, INVOICE, "in_1"),
    "invoice_payment.paid": (PART, INVOICE, "in_1"),
    "invoice.upcoming": ({"object": "invoice"}, OTHER, ""),
    "customer.updated": ({"object": "customer", "id": "cus_1"}, CUSTOMER, "cus_1"),
    "product.created": ({"object": "product", "id": "prod_1"}, OTHER, "prod_1"),
}


async def read(bench: Bench, told: object, secret: str = "") -> ProviderEvent:
    body = json.dumps(told).encode()
    [event] = await bench.stripe.read_webhook(bench.fake.signed(body, secret), body)
    return event


@pytest.mark.parametrize("type", ABOUT)
async def test_news_says_what_has_to_be_asked_for(bench: Bench, type: str) -> None:
    about, kind, object = ABOUT[type]
    told = {"id": "evt_1", "object": "event", "type": type, "created": 1700000000, "livemode": False}
    event = await read(bench, {**told, "data": {"object": about}})
    assert (event.id, event.kind, event.object, event.live) == ("evt_1", kind, object, False)
    assert event.at_us == 1700000000 * 10**6
    assert event.order == ("o" if about is CHARGE else "")


THIN = {
    "id": "evt_thin",
    "object": "v2.core.event",
    "type": "v1.billing.meter.error_report_triggered",
    "created": "2026-11-01T00:00:00.000Z",
    "livemode": True,
}


async def test_an_event_that_only_points_at_a_meter_is_news_of_usage(bench: Bench) -> None:
    meter = {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"}
    event = await read(bench, {**THIN, "related_object": meter})
    assert (event.kind, event.object, event.live) == (USAGE, "mtr_1", True)
    assert event.at_us == 1793491200 * 10**6


@pytest.mark.parametrize("nothing", [{}, {"related_object": None}], ids=str)
async def test_an_event_that_points_at_nothing_is_no_forgery(bench: Bench, nothing: Json) -> None:
    event = await read(bench, {**THIN, "type": "v1.billing.meter.no_meter_found", **nothing})
    assert (event.kind, event.object) == (OTHER, "")


@pytest.mark.parametrize(
    "body", ["[]", "3", "{", '"x"', "null", '{"id": "evt_1"}', '{"type": "x", "data": 3}']
)
async def test_what_was_signed_and_is_no_event_is_refused(bench: Bench, body: str) -> None:
    with pytest.raises(Forged):
        await bench.stripe.read_webhook(bench.fake.signed(body.encode()), body.encode())


NOTHING = (
    *("", "t=1", "v1=00", "t=1,v0=00", "v1=,t", ",,,,"),
    *("t=1,t=2,v1=00", "t=,v1=00", "t=-1,v1=00", "t=1e9,v1=00", "t=\u0663,v1=00"),
    f"t={'9' * 99},v1=0",
    f"t=1{',v1=0' * 17}",
)


@pytest.mark.parametrize("header", NOTHING)
def test_a_header_that_could_be_read_in_two_ways_proves_nothing(header: str) -> None:
    with pytest.raises(Forged):
        _read(header)


@given(st.text(max_size=80))
def test_no_header_is_a_mistake_of_ours(header: str) -> None:
    try:
        at_s, signatures = _read(header)
    except Forged:
        return
    assert at_s >= 0
    assert signatures


async def test_one_of_several_signatures_is_enough_and_the_bytes_are_the_raw_ones(bench: Bench) -> None:
    told = {"id": "evt_1", "type": "x", "created": 1, "livemode": False, "data": {"object": {"id": "ü"}}}
    body = json.dumps(told, ensure_ascii=False, indent=3).encode()
    signed = bench.fake.signed(body)["stripe-signature"]
    both = {"stripe-signature": signed.replace(",v1=", ",v1=00,v0=11,v1=")}
    assert len(await bench.stripe.read_webhook(both, body)) == 1
    same_but_shorter = json.dumps(told).encode()
    with pytest.raises(Forged):
        await bench.stripe.read_webhook(both, same_but_shorter)


async def test_the_feed_goes_on_where_it_was_and_repeats_only_what_is_young(bench: Bench) -> None:
    bench.store.reachable = False
    for _ in range(3):
        await bench.pay((await bench.stripe.open_checkout(an_order())).url)
    first = await bench.stripe.events_after("")
    assert [each.id for each in first.events] == [each["id"] for each in bench.store.events]
    assert first.cursor == ""  # all of it is young and will be read again
    bench.clock.advance(seconds=600)
    settled = await bench.stripe.events_after("")
    assert settled.cursor == bench.store.events[-1]["id"]
    assert (await bench.stripe.events_after(settled.cursor)).events == []
    await bench.pay((await bench.stripe.open_checkout(an_order())).url)
    fresh = await bench.stripe.events_after(settled.cursor)
    assert fresh.events
    assert fresh.cursor == settled.cursor


async def test_the_feed_of_a_long_outage_comes_page_by_page_from_the_oldest_on(bench: Bench) -> None:
    bench.store.reachable = False
    await bench.pay((await bench.stripe.open_checkout(an_order())).url)
    bench.clock.advance(seconds=600)
    cursor = (await bench.stripe.events_after("")).cursor
    customer = {"object": "customer", "id": "cus_1"}
    for _ in range(250):
        bench.store.tell("customer.updated", customer)
    bench.clock.advance(seconds=600)
    seen, more, pages = [], True, 0
    while more:
        page = await bench.stripe.events_after(cursor)
        seen += [each.id for each in page.events]
        cursor, more, pages = page.cursor, page.more, pages + 1
    assert (pages, seen) == (3, [each["id"] for each in bench.store.events[-250:]])


async def test_a_place_that_stripe_has_forgotten_is_a_new_beginning(bench: Bench) -> None:
    bench.store.reachable = False
    await bench.pay((await bench.stripe.open_checkout(an_order())).url)
    page = await bench.stripe.events_after("evt_of_last_month")
    assert len(page.events) == len(bench.store.events)


async def test_what_was_delivered_is_not_fetched(bench: Bench) -> None:
    await bench.pay((await bench.stripe.open_checkout(an_order())).url)
    assert (await bench.stripe.events_after("")).events == []


async def test_where_stripe_knows_no_address_all_that_happened_since_a_day_is_fetched() -> None:
    async with a_bench("") as bench:
        await bench.pay((await bench.stripe.open_checkout(an_order())).url)
        bench.clock.advance(seconds=2 * 86_400)
        await bench.pay((await bench.stripe.open_checkout(an_order())).url)
        seen = [each.id for each in (await bench.stripe.events_after("")).events]
        half = len(bench.store.events) // 2
        assert seen == [each["id"] for each in bench.store.events[half:]]
