"""A stand-in of Adyen that keeps state and answers over HTTP: pay pages, modifications, signed notifications.

It takes what the Checkout API takes and nothing else, says `received` to modifications and tells of their end
by notification only, replays the answer of an idempotency key, and has faults on demand.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from Adyen.util import generate_notification_sig  # type: ignore[import-untyped]  # says nothing of types
from pydantic import ValidationError

from tests.adapters.adyen.shapes import SHAPES
from tests.adapters.faking import Asked, FakeServer, Json, Refusal, Told

MERCHANT, API_KEY = "MetergateTEST", "AQE_test_key"
HMAC_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
OTHER_KEY = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"


def refuse(status: int, code: str, message: str) -> Refusal:
    return Refusal(status, {"status": status, "errorCode": code, "message": message})


@dataclass
class Link:
    asked: Json
    status: str = "active"


@dataclass
class Paid:
    """A payment, by its psp reference."""

    reference: str
    amount: Json
    captured: int
    canceled: bool = False
    refunded: int = 0


class FakeAdyen:
    def __init__(self, now: Callable[[], str]) -> None:
        self.now = now
        self.hmac_key = HMAC_KEY
        self.links: dict[str, Link] = {}
        self.payments: dict[str, Paid] = {}
        self.sent: list[bytes] = []
        """Every notification, signed, in the order in which things happened."""
        self.fails = False
        """Whether the next modification comes to nothing, whatever it is."""
        self.server = FakeServer(self._answer, _writes)
        self._answers: dict[str, tuple[str, Told]] = {}
        self._count = 0

    # What payers, banks and people at Adyen do.

    def pay(self, link: str, *, declined: bool = False, value: int | None = None, currency: str = "") -> str:
        """A payer pays at a link, or tries to; the psp reference of the attempt."""
        page = self.links[link]
        amount = {
            "value": value or page.asked["amount"]["value"],
            "currency": currency or page.asked["amount"]["currency"],
        }
        psp, reference = self._psp(), page.asked["reference"]
        assert page.status == "active", "Nobody pays at a link that has closed."
        if declined:
            self.say("AUTHORISATION", psp, reference, amount, success=False, reason="Refused")
            return psp
        page.status = "completed"
        manual = page.asked.get("manualCapture", False)
        self.payments[psp] = Paid(reference, amount, 0 if manual else int(amount["value"]))
        self.say("AUTHORISATION", psp, reference, amount, summary="1111")
        return psp

    def chargeback(self, psp: str, code: str = "CHARGEBACK", *, named: bool = True) -> None:
        """What happens to the dispute of a payment; all of it has one reference."""
        paid = self.payments[psp]
        original = psp if named else ""
        self.say(code, f"D{psp[1:]}", paid.reference, paid.amount, original=original)

    def say(
        self,
        code: str,
        psp: str,
        reference: str,
        amount: Json,
        *,
        original: str = "",
        success: bool = True,
        reason: str = "",
        merchant: str = MERCHANT,
        live: str = "false",
        summary: str = "",
    ) -> bytes:
        item: Json = {
            "eventCode": code,
            "pspReference": psp,
            "merchantAccountCode": merchant,
            "merchantReference": reference,
            "amount": amount,
            "success": "true" if success else "false",
            "reason": reason,
            "eventDate": self.now(),
            "paymentMethod": "visa",
        }
        if original:
            item["originalReference"] = original
        body = notification(item, self.hmac_key, live, summary)
        self.sent.append(body)
        return body

    # The API.

    def _psp(self) -> str:
        self._count += 1
        return f"P{self._count:015d}"

    def _call(self, asked: Asked) -> Told:
        match asked.method, asked.path.strip("/").split("/"):
            case "POST", ["v72", "paymentMethods"]:
                return Told(200, {"paymentMethods": [{"type": "scheme", "name": "Cards"}]})
            case "POST", ["v72", "paymentLinks"]:
                id = f"PL{len(self.links) + 1:016X}"
                self.links[id] = Link(asked.json)
                return Told(201, self._link(id))
            case "GET", ["v72", "paymentLinks", id]:
                self._known(id)
                return Told(200, self._link(id))
            case "PATCH", ["v72", "paymentLinks", id]:
                if self._known(id).status != "active":
                    raise refuse(422, "14_019", "The payment link is not active.")
                self.links[id].status = "expired"
                return Told(200, self._link(id))
            case "POST", ["v72", "payments", psp, change]:
                return Told(201, self._change(psp, change, asked.json))
        raise refuse(404, "000", "Not found.")

    def _known(self, id: str) -> Link:
        if id not in self.links:
            raise refuse(404, "14_018", "There is no such payment link.")
        return self.links[id]

    def _link(self, id: str) -> Json:
        asked = self.links[id].asked
        shown = {name: asked[name] for name in ("amount", "merchantAccount", "reference")}
        return {**shown, "id": id, "status": self.links[id].status, "url": f"https://test.adyen.link/{id}"}

    def _change(self, psp: str, change: str, asked: Json) -> Json:
        """`received`, whatever comes of it; that is told by notification."""
        paid, name = self.payments.get(psp), self._psp()
        if paid is None:
            raise refuse(422, "167", "Original pspReference required for this operation.")
        reference = asked.get("reference", paid.reference)
        amount = asked.get("amount", paid.amount)
        fits = amount["currency"] == paid.amount["currency"]
        fits, self.fails = fits and not self.fails, False
        if change == "captures":
            worked = fits and not paid.canceled and paid.captured + amount["value"] <= paid.amount["value"]
            paid.captured += amount["value"] if worked else 0
            code = "CAPTURE"
        elif change == "cancels":
            worked = not paid.captured and not paid.canceled
            paid.canceled = paid.canceled or worked
            code = "CANCELLATION"
        else:
            worked = fits and paid.refunded + amount["value"] <= paid.captured
            paid.refunded += amount["value"] if worked else 0
            code = "REFUND"
        why = "" if worked else "Insufficient balance on payment"
        self.say(code, name, reference, amount, original=psp, success=worked, reason=why)
        return {**asked, "paymentPspReference": psp, "pspReference": name, "status": "received"}

    def _answer(self, asked: Asked) -> Told:
        """The same key again has the same answer; with other contents it is refused."""
        if asked.headers.get("x-api-key") != API_KEY:
            raise refuse(401, "000", "HTTP Status Response - Unauthorized")
        key = asked.headers.get("idempotency-key", "")
        same = hashlib.sha256(f"{asked.path} {asked.body!r}".encode()).hexdigest()
        if len(key) > 64:
            raise refuse(422, "703", "The idempotency key is too long.")
        if key in self._answers:
            known, told = self._answers[key]
            if known != same:
                raise refuse(422, "703", "The idempotency key was used for another request.")
            return told
        if asked.method != "GET":
            _must_fit(asked)
        told = self._call(asked)
        if key:
            self._answers[key] = (same, told)
        return told


def _writes(asked: Asked) -> bool:
    return asked.method != "GET" and not asked.path.endswith("/paymentMethods")


def _must_fit(asked: Asked) -> None:
    what = asked.path.rpartition("/")[2] if asked.method == "POST" else ""
    shape = SHAPES.get((asked.method, what))
    if shape is None:
        raise refuse(404, "000", f"There is no {asked.method} {asked.path}.")
    try:
        shape.model_validate(asked.json, strict=True)
    except ValidationError as error:
        raise refuse(422, "14_002", f"Structure of the request is invalid: {error}") from error
    if asked.json.get("merchantAccount", MERCHANT) != MERCHANT:
        raise refuse(403, "901", "Invalid Merchant Account")


def notification(item: Json, key: str, live: str = "false", summary: str = "") -> bytes:
    """One item as Adyen sends it, signed with a key."""
    signature = generate_notification_sig(item, key).decode()
    extra = {"hmacSignature": signature} | ({"cardSummary": summary} if summary else {})
    whole = {"NotificationRequestItem": {**item, "additionalData": extra}}
    return json.dumps({"live": live, "notificationItems": [whole]}).encode()
