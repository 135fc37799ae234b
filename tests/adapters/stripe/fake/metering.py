"""Meter events, their summaries, and the reports of what could not be counted."""

from typing import Any

from tests.adapters.stripe.fake.errors import Refused, missing
from tests.adapters.stripe.fake.selling import active_meters
from tests.adapters.stripe.fake.server import Api
from tests.adapters.stripe.fake.store import Json, Store

metering = Api()

DAY_S = 86_400
MONTH_S = 35 * DAY_S
AHEAD_S = 300


@metering.on("POST /v1/billing/meter_events", "billing.MeterEventCreateParams")
def create_event(store: Store, asked: Json) -> Json:
    name, now_s = asked["event_name"], store.now_s()
    if not any(each["event_name"] == name for each in active_meters(store)):
        raise Refused(400, f"No active meter found with event name {name}.", "resource_missing")
    if len(asked["identifier"]) > 100:
        raise Refused(400, "identifier: at most 100 characters.", "parameter_invalid")
    known = [each for each in store.all("billing.meter_event") if each["identifier"] == asked["identifier"]]
    if known and now_s - known[0]["created"] < DAY_S:
        raise Refused(400, f"An event already exists with identifier {asked['identifier']}.")
    if not now_s - MONTH_S <= asked["timestamp"] <= now_s + AHEAD_S:
        raise Refused(400, "The timestamp is too far in the past or the future.", "timestamp_invalid")
    customer, value = asked["payload"]["stripe_customer_id"], asked["payload"]["value"]
    if customer not in store.objects:
        raise missing("customer", customer)
    if not value.lstrip("-").isdecimal() or len(value.lstrip("-")) > 15:
        raise Refused(400, "The value must be a whole number.", "meter_event_value_not_found")
    return store.add("mevt", "billing.meter_event", **asked)


@metering.on("GET /v1/billing/meters/{}/event_summaries", "billing.MeterListEventSummariesParams")
def summaries(store: Store, asked: Json, id: str) -> Json:
    meter = store.get("billing.meter", id)
    start, end = asked["start_time"], asked["end_time"]
    if start % 60 or end % 60:
        raise Refused(400, "start_time and end_time must be aligned with minute boundaries.")
    counted = [each for each in store.all("billing.meter_event") if _counts(each, meter, asked)]
    total = sum(int(each["payload"]["value"]) for each in counted)
    summary = {
        "id": "mtrusg_1",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(total),
        "start_time": start,
        "end_time": end,
        "livemode": False,
        "meter": id,
    }
    found = [summary] if counted else []
    return {
        "object": "list",
        "url": f"/v1/billing/meters/{id}/event_summaries",
        "has_more": False,
        "data": found,
    }


def _counts(event: Json, meter: Json, asked: Json) -> bool:
    return bool(
        event["event_name"] == meter["event_name"]
        and event["payload"]["stripe_customer_id"] == asked["customer"]
        and asked["start_time"] <= event["timestamp"] < asked["end_time"]
        and not event.get("_dropped")
    )


@metering.on("GET /v2/core/events/{}")
def event(store: Store, asked: Json, id: str) -> Json:
    return store.get("v2.core.event", id)


def reported(store: Store, identifier: str, code: str, message: str, key: str = "") -> Json:
    """An event that was taken cannot be counted: a thin event tells of a report."""
    dropped = [each for each in store.all("billing.meter_event") if each["identifier"] == identifier]
    for each in dropped:
        each["_dropped"] = True
    [meter] = [each for each in active_meters(store) if each["event_name"] == dropped[0]["event_name"]]
    sample = {"error_message": message, "request": {"identifier": key or identifier}}
    reason = {
        "error_count": 1,
        "error_types": [{"code": code, "error_count": 1, "sample_errors": [sample]}],
    }
    return _thin(store, meter, reason, message)


def _thin(store: Store, meter: Json, reason: dict[str, Any], message: str) -> Json:
    """Its data is told to who fetches it, and not in what is sent."""
    url = f"/v1/billing/meters/{meter['id']}"
    made = store.add(
        "evt",
        "v2.core.event",
        type="v1.billing.meter.error_report_triggered",
        related_object={"id": meter["id"], "type": "billing.meter", "url": url},
        data={"developer_message_summary": message, "reason": reason},
    )
    sent = {name: value for name, value in made.items() if name != "data"}
    told = {**sent, "undelivered": True, "created": "2026-01-01T00:00:00.000Z"}
    store.events.append(told)
    return told
