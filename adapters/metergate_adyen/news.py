"""Webhooks: each item is proven by its own signature, and then says a part of what a payment is.

Signed are the references, the merchant account, the amount, the code and whether it worked. Nothing else of
an item moves money. The signature carries no time: what comes again has the same id, and changes nothing.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from Adyen.util import generate_notification_sig  # type: ignore[import-untyped]  # says nothing of types

from metergate.provider_port import (
    OTHER,
    PAYMENT,
    Forged,
    Method,
    Money,
    Notes,
    ProviderEvent,
    instant_us,
)
from metergate_adyen.meaning import MEANINGS, Item, Terms

ORDER, AUTHORISED, REFUND, FAILED = "order:", "authorised:", "refund:", "failed:"
"""What the names of our notes begin with."""
ITEMS_MAX: Final = 100
_ONE_WORD: Final = ("eventCode", "pspReference", "originalReference", "merchantAccountCode")


class Signed(NamedTuple):
    item: Item
    account: str
    raw: Mapping[str, Any]
    digest: str


class Reader:
    def __init__(self, merchant: str, keys: Sequence[str], notes: Notes) -> None:
        """Any of the keys proves an item, while one takes the place of another."""
        self._merchant = merchant
        self._keys = keys
        self._notes = notes

    async def read(self, body: bytes) -> Sequence[ProviderEvent]:
        try:
            told = json.loads(body)
            live = {"true": True, "false": False}[told["live"]]
            raw = [each["NotificationRequestItem"] for each in told["notificationItems"]]
            signed = [self._proven(each) for each in raw[:ITEMS_MAX]]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Forged("This is no news of Adyen's, or it is not signed.") from error
        if not raw or len(raw) > ITEMS_MAX:
            raise Forged(f"Adyen's news has 1 to {ITEMS_MAX} items.")
        return [await self._event(each, live=live) for each in signed]

    def _proven(self, raw: Mapping[str, Any]) -> Signed:
        """An item that somebody signed who knows one of the keys, in the one way to read what was signed."""
        given = raw["additionalData"]["hmacSignature"].encode()
        known = [hmac.compare_digest(generate_notification_sig(raw, key), given) for key in self._keys]
        if not any(known):
            raise Forged("The signature is not Adyen's.")
        value, currency, success = raw["amount"]["value"], raw["amount"]["currency"], raw["success"]
        words = [raw.get(name, "") for name in _ONE_WORD] + [currency]
        code, psp, original, account = words[:4]
        reference = raw.get("merchantReference", "")
        # The signature is of all of them in a row: with a colon in one the row could be read in two ways.
        plain = all(isinstance(each, str) and ":" not in each for each in words) and isinstance(
            reference, str
        )
        if not plain or type(value) is not int or success not in ("true", "false") or not code or not psp:
            raise Forged("Adyen's news is not of its form.")
        said = json.dumps([*words, reference, value, success])
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        reason = str(raw.get("reason") or "")[:300]
        item = Item(
            code, psp, original, reference, Money(value, currency), success == "true", reason, _method(raw)
        )
        return Signed(item, account, raw, digest)

    async def _event(self, signed: Signed, *, live: bool) -> ProviderEvent:
        item = signed.item
        id = f"{item.code}:{item.psp}:{'live' if live else 'test'}:{signed.digest}"
        event = ProviderEvent(
            id,
            item.code,
            PAYMENT,
            item.original or item.psp,
            live,
            _instant(signed.raw.get("eventDate")),
        )
        if signed.account != self._merchant:
            why = f"It is of the merchant account {signed.account:.80}, not of {self._merchant}."
            return event._replace(kind=OTHER, objection=why)
        meaning = MEANINGS.get(item.code)
        terms = await self._terms(item)
        facts = meaning(item, terms, live) if meaning else None
        if facts is None:
            return event._replace(kind=OTHER)
        if facts.capturable and not item.worked:
            await self._notes.write(FAILED + facts.id, item.psp)
        elif facts.capturable:
            known = {"amount": item.amount, "reference": item.reference}
            await self._notes.write(AUTHORISED + facts.id, json.dumps(known))
        return event._replace(order=terms.order, payment=facts)

    async def _terms(self, item: Item) -> Terms:
        """What we noted of the order or of the refund that the item names as ours."""
        reference, refund = item.reference, None
        if item.original:
            refund = await self._notes.read(REFUND + reference)
            authorised = await self._notes.read(AUTHORISED + item.original)
            reference = json.loads(authorised)["reference"] if authorised else reference
        noted = await self._notes.read(ORDER + reference)
        if not noted:
            return Terms("" if refund else reference, refund or "", capture=True)
        known = json.loads(noted)
        return Terms(known["id"], refund or "", known["capture"])


def _method(raw: Mapping[str, Any]) -> Method | None:
    """What it was paid with, for people to read: this part is not signed."""
    brand, more = str(raw.get("paymentMethod") or "")[:40], raw.get("additionalData") or {}
    last4 = str(more.get("cardSummary") or "")
    if not brand:
        return None
    card = len(last4) == 4 and last4.isascii() and last4.isdigit()
    return Method("", "card", brand, last4) if card else Method("", brand)


def _instant(text: Any) -> int:
    try:
        return instant_us(text)
    except (TypeError, ValueError, OverflowError):
        return 0
