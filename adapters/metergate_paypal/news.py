"""PayPal's events as ours: which payment each is about."""

import json
from datetime import datetime
from typing import Any

from metergate.provider_port import OTHER, PAYMENT, Forged, ProviderEvent


def event(body: bytes, *, live: bool) -> ProviderEvent:
    """A hint: PayPal signs no more than a checksum of the body, so nothing in it is believed."""
    try:
        told = json.loads(body)
        resource = told["resource"]
        object = _about(str(told["event_type"]), resource)
        return ProviderEvent(
            id=str(told["id"]),
            type=str(told["event_type"]),
            kind=PAYMENT if object else OTHER,
            object=object or str(resource.get("id", "")),
            live=live,
            at_us=int(datetime.fromisoformat(told["create_time"]).timestamp()) * 10**6,
            order=_custom_id(resource),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Forged("What was signed is no event of PayPal.") from error


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
