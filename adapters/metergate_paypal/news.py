"""PayPal's events as ours: which payment each is about."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from metergate.ports import Clock
from metergate.provider_port import OTHER, PAYMENT, EventPage, Forged, ProviderEvent, instant_us
from metergate_paypal.calls import Calls

EVENTS: Final = "/v1/notifications/webhooks-events"
PAGE: Final = 300
DAY_US: Final = 86_400 * 10**6
LATE_US: Final = 600 * 10**6
FIRST_US: Final = 3 * DAY_US
KEPT_US: Final = 30 * DAY_US


class Feed:
    """What PayPal tells, fetched: it keeps events for thirty days, and tries to deliver them for three."""

    def __init__(self, calls: Calls, clock: Clock, *, live: bool) -> None:
        self._calls = calls
        self._clock = clock
        self._live = live

    async def after(self, cursor: str) -> EventPage:
        """The cursor is when we asked; what happened shortly before may have come late to PayPal's list."""
        now_us = self._clock()
        since_us = int(cursor) - LATE_US if cursor else now_us - FIRST_US
        span = {"start_time": _text(max(since_us, now_us - KEPT_US)), "end_time": _text(now_us + LATE_US)}
        path = f"{EVENTS}?{urlencode({'page_size': PAGE, **span})}"
        found: list[ProviderEvent] = []
        while path:
            told = await self._calls.get(path)
            found += [event(each, live=self._live) for each in told.get("events") or ()]
            path = _next(told)
        return EventPage(sorted(found, key=lambda each: (each.at_us, each.id)), str(now_us))


def _next(told: Mapping[str, Any]) -> str:
    """The path of the next page; its host is not followed."""
    links = [each.get("href", "") for each in told.get("links") or () if each.get("rel") == "next"]
    return f"{EVENTS}?{urlsplit(links[0]).query}" if links else ""


def _text(us: int) -> str:
    return datetime.fromtimestamp(us // 10**6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(body: bytes, *, live: bool) -> ProviderEvent:
    """PayPal signs no more than a checksum of the body, so nothing in it is believed: it is a hint."""
    try:
        return event(json.loads(body), live=live)
    except ValueError as error:
        raise Forged("What was signed is no event of PayPal.") from error


def event(told: Any, *, live: bool) -> ProviderEvent:
    """What names no payment in the way that ours are named is of another kind, such as of an older API."""
    try:
        id, type, at_us = str(told["id"]), str(told["event_type"]), instant_us(told["create_time"])
    except (ValueError, KeyError, TypeError) as error:
        raise Forged("What was signed is no event of PayPal.") from error
    try:
        object, order = _about(type, told["resource"]), _custom_id(told["resource"])
    except (KeyError, TypeError, AttributeError, IndexError, StopIteration):
        object, order = "", ""
    return ProviderEvent(id, type, PAYMENT if object else OTHER, object, live, at_us, order)


def _about(type: str, resource: dict[str, Any]) -> str:
    """PayPal's id of the payment: of the order before it is captured, of the capture afterwards."""
    if type.startswith("CHECKOUT.ORDER."):
        return str(resource["id"])
    if type.startswith("CHECKOUT.PAYMENT-APPROVAL."):
        return str(resource["order_id"])
    if type in ("PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED") or type.startswith("PAYMENT.REFUND."):
        return _up(resource)
    if type.startswith("PAYMENT.CAPTURE."):
        return str(resource["id"])
    if type.startswith("PAYMENT.AUTHORIZATION."):
        return str(resource["supplementary_data"]["related_ids"]["order_id"])
    if type.startswith("CUSTOMER.DISPUTE."):
        return str(resource["disputed_transactions"][0]["seller_transaction_id"])
    return ""


def _up(refund: dict[str, Any]) -> str:
    """The capture of a refund: the event carries the refund, and only a link names its payment."""
    return next(str(each["href"]) for each in refund["links"] if each["rel"] == "up").rpartition("/")[2]


def _custom_id(resource: dict[str, Any]) -> str:
    """Our id of the order, where the news names it; a refund has an id of its own there."""
    units = resource.get("purchase_units") or [{}]
    return str(units[0].get("custom_id") or "")
