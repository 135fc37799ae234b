"""News: proven on the raw bytes, and read for what it is about and nothing more."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stripe import Event
from stripe.params import EventListParams

from metergate.provider_port import (
    CUSTOMER,
    INVOICE,
    OTHER,
    PAYMENT,
    SUBSCRIPTION,
    USAGE,
    EventPage,
    Forged,
    ProviderEvent,
    instant_us,
)
from metergate_stripe.base import ALL, Base
from metergate_stripe.outcomes import Missing, ask, every

TOLERANCE_US: Final = 300 * 10**6
SIGNATURES_MAX: Final = 16
FIRST_S: Final = 86_400
"""How far back the first look goes: nothing is asked of what was before us."""
SETTLES_S: Final = 300
"""Events of the last minutes are read again: one that is written late would be before the place we are at."""
THIN: Final = "v2.core.event"
"""An event that only points at something, or at nothing."""

_KINDS: Final = (
    ("checkout.session.", PAYMENT),
    ("payment_intent.", PAYMENT),
    ("charge.", PAYMENT),
    ("refund.", PAYMENT),
    ("customer.subscription.", SUBSCRIPTION),
    ("invoice.", INVOICE),
    ("invoice_payment.", INVOICE),
    ("customer.", CUSTOMER),
    ("billing.meter.", USAGE),
    ("v1.billing.meter.", USAGE),
)


class News(Base):
    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[ProviderEvent]:
        self._prove(headers.get("stripe-signature", ""), body)
        try:
            return [self._event(json.loads(body))]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Forged("What was signed is no event of Stripe.") from error

    async def events_after(self, cursor: str) -> EventPage:
        """What Stripe could not deliver, from the oldest on; it keeps events for thirty days.

        All there is where it knows no address of ours: what nobody was told of counts as delivered.
        """
        if not cursor:
            return await self._events_since(self.now_s() - FIRST_S)
        asked = self._undelivered()
        asked["ending_before"] = cursor
        try:
            page = await ask(self.api.events.list_async(asked))
        except Missing:  # it was forgotten, and so is all that was before it
            return await self._events_since(0)
        return self._news(page.data, cursor, more=page.has_more)

    async def _events_since(self, since_s: int) -> EventPage:
        asked = self._undelivered()
        asked["created"] = {"gte": since_s}
        listed = await ask(self.api.events.list_async(asked))
        return self._news([each async for each in every(listed)], "", more=False)

    def _undelivered(self) -> EventListParams:
        return {"limit": ALL, "delivery_success": False} if self.context.webhook_url else {"limit": ALL}

    def _news(self, newest_first: Sequence[Event], cursor: str, *, more: bool) -> EventPage:
        """The place moves up to the newest event that is old enough to have none before it any more."""
        settled = [each.id for each in newest_first if each.created <= self.now_s() - SETTLES_S]
        events = [self._event(each.to_dict()) for each in reversed(newest_first)]
        return EventPage(events, settled[0] if settled else cursor, more)

    def _prove(self, header: str, body: bytes) -> None:
        at_s, signatures = _read(header)
        if abs(self.context.clock() - at_s * 10**6) > TOLERANCE_US:
            raise Forged("This was signed too long ago, or not by a clock like ours.")
        told = f"{at_s}.".encode() + body
        for secret in self.settings.webhook_secrets:
            ours = hmac.new(secret.encode(), told, hashlib.sha256).hexdigest()
            if any(hmac.compare_digest(ours.encode(), each.encode()) for each in signatures):
                return
        raise Forged("Stripe did not sign this.")

    def _event(self, told: Mapping[str, Any]) -> ProviderEvent:
        type = str(told["type"])
        thin = told.get("object") == THIN
        about = told.get("related_object") or {} if thin else told["data"]["object"]
        of = told.get("account") or ""
        kind = _kind(type)
        object = _object(kind, about)
        return ProviderEvent(
            id=str(told["id"]),
            type=type,
            kind=kind if object else OTHER,  # an invoice that is only foreseen has no name yet
            object=object,
            live=told["livemode"] is True,
            at_us=_instant_us(told["created"]),
            order=str((about.get("metadata") or {}).get(self.named("order"), "")) if kind == PAYMENT else "",
            objection=""
            if of in ("", self.settings.account)
            else f"It is of {of}, an account that is not ours.",
        )


def _read(header: str) -> tuple[int, list[str]]:
    """When it was signed, and the signatures of the scheme that counts: several while a secret is changed."""
    parts = [part.split("=", 1) for part in header.split(",")]
    times = [part[1] for part in parts if len(part) == 2 and part[0] == "t"]
    signatures = [part[1] for part in parts if len(part) == 2 and part[0] == "v1"]
    plain = len(times) == 1 and times[0].isascii() and times[0].isdecimal() and len(times[0]) < 16
    if not plain or not 0 < len(signatures) <= SIGNATURES_MAX:
        raise Forged("Stripe did not sign this.")
    return int(times[0]), signatures


def _kind(type: str) -> str:
    return next((kind for prefix, kind in _KINDS if type.startswith(prefix)), OTHER)


def _object(kind: str, about: Mapping[str, Any]) -> str:
    """What has to be asked for: of a charge, a refund or a dispute, its payment."""
    name = {PAYMENT: "payment_intent", INVOICE: "invoice"}.get(kind, "")
    if name and about.get("object") not in ("checkout.session", "payment_intent", "invoice"):
        return str(about.get(name) or about.get("charge") or about["id"])
    return str(about.get("id", ""))


def _instant_us(created: int | str) -> int:
    """Events that only point at something write their time as text."""
    if isinstance(created, str):
        return instant_us(created)
    return int(created) * 10**6
