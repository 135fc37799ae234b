"""Square's news: signed over the address and the body, and read as a hint about a payment."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from square.utils.webhooks_helper import verify_signature

from metergate.ports import Clock
from metergate.provider_port import OTHER, PAYMENT, Forged, ProviderEvent, instant_us

SIGNATURE: Final = "x-square-hmacsha256-signature"
OLDEST_US: Final = 3 * 86_400 * 10**6
"""Square tries for a day to deliver."""
AHEAD_US: Final = 300 * 10**6


class News:
    def __init__(self, clock: Clock, address: str, keys: Sequence[str], *, live: bool) -> None:
        self._clock = clock
        self.address = address
        self.keys = keys
        self._live = live

    def read(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """Forged unless Square signed it with one of our keys, for our address, in the last days."""
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise Forged("News of Square has to be text.") from error
        told = headers.get(SIGNATURE, "")
        proofs = [
            verify_signature(
                request_body=text, signature_header=told, signature_key=each, notification_url=self.address
            )
            for each in self.keys
        ]
        if not any(proofs):
            raise Forged("The signature is not Square's, or for another address.")
        try:
            found = event(json.loads(text), live=self._live)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise Forged("What was signed is no event of Square.") from error
        if not -AHEAD_US <= self._clock() - found.at_us <= OLDEST_US:
            raise Forged("The event is too old, or of the future.")
        return found


def event(told: Any, *, live: bool) -> ProviderEvent:
    """An event as it is delivered, and as it is listed."""
    id, type, data = str(told["event_id"]), str(told["type"]), told["data"]
    at_us, about = instant_us(told["created_at"]), str(data.get("id", ""))
    payment = paid(type, data)
    return ProviderEvent(id, type, PAYMENT if payment else OTHER, payment or about, live, at_us)


def paid(type: str, data: Mapping[str, Any]) -> str:
    """Square's id of the payment that it is about, or of its order; empty where it names none."""
    try:
        return _paid(type.partition(".")[0], data["object"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def _paid(kind: str, object: Mapping[str, Any]) -> str:
    if kind == "payment":
        return str(object["payment"]["id"])
    if kind == "refund":
        return str(object["refund"]["payment_id"])
    if kind == "order":
        [change] = [each for each in object.values() if isinstance(each, dict)]
        return str(change["order_id"])
    return str(object["dispute"]["disputed_payment"]["payment_id"]) if kind == "dispute" else ""
