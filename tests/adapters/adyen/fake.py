"""A stand-in of Adyen that keeps state and answers over HTTP: pay pages, modifications, signed notifications.

It takes what the Checkout API takes and nothing else, says `received` to modifications and tells of their end
by notification only, replays the answer of an idempotency key, and has faults on demand.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from Adyen.util import generate_notification_sig  # type: ignore[import-untyped]  # says nothing of types
from pydantic import ValidationError

from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.adyen.shapes import SHAPES

MERCHANT, API_KEY = "MetergateTEST", "AQE_test_key"
HMAC_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
OTHER_KEY = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"

Json = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = (status, {"status": status, "errorCode": code, "message": message})


class NotAnswered(Exception):
    """It was done, and the connection closes without a word."""


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


@dataclass
class FakeAdyen:
    now: Callable[[], str]
    hmac_key: str = HMAC_KEY
    links: dict[str, Link] = field(default_factory=dict)
    payments: dict[str, Paid] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    """Every notification, signed, in the order in which things happened."""
    asked: list[tuple[str, str, Json]] = field(default_factory=list)
    url: str = ""
    fails: bool = False
    """Whether the next modification comes to nothing, whatever it is."""
    _faults: list[str] = field(default_factory=list)
    _answers: dict[str, tuple[str, int, Json]] = field(default_factory=dict)
    _count: int = 0
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    def next_request(self, kind: str) -> None:
        self._faults.append(kind)

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

    def _call(self, method: str, path: str, asked: Json) -> tuple[int, Json]:
        match method, path.strip("/").split("/"):
            case "POST", ["v72", "paymentMethods"]:
                return 200, {"paymentMethods": [{"type": "scheme", "name": "Cards"}]}
            case "POST", ["v72", "paymentLinks"]:
                id = f"PL{len(self.links) + 1:016X}"
                self.links[id] = Link(asked)
                return 201, self._link(id)
            case "GET", ["v72", "paymentLinks", id]:
                self._known(id)
                return 200, self._link(id)
            case "PATCH", ["v72", "paymentLinks", id]:
                if self._known(id).status != "active":
                    raise Refused(422, "14_019", "The payment link is not active.")
                self.links[id].status = "expired"
                return 200, self._link(id)
            case "POST", ["v72", "payments", psp, change]:
                return self._change(psp, change, asked)
        raise Refused(404, "000", "Not found.")

    def _known(self, id: str) -> Link:
        if id not in self.links:
            raise Refused(404, "14_018", "There is no such payment link.")
        return self.links[id]

    def _link(self, id: str) -> Json:
        asked = self.links[id].asked
        shown = {name: asked[name] for name in ("amount", "merchantAccount", "reference")}
        return {**shown, "id": id, "status": self.links[id].status, "url": f"https://test.adyen.link/{id}"}

    def _change(self, psp: str, change: str, asked: Json) -> tuple[int, Json]:
        """`received`, whatever comes of it; that is told by notification."""
        paid, name = self.payments.get(psp), self._psp()
        if paid is None:
            raise Refused(422, "167", "Original pspReference required for this operation.")
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
        return 201, {**asked, "paymentPspReference": psp, "pspReference": name, "status": "received"}

    def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Json]:
        if headers.get("x-api-key") != API_KEY:
            raise Refused(401, "000", "HTTP Status Response - Unauthorized")
        asked: Json = json.loads(body) if body else {}
        self.asked.append((method, path, asked))
        reads = path.endswith("/paymentMethods") or method == "GET"
        fault = self._faults.pop(0) if self._faults and not reads else ""
        if fault == BUSY:
            return 429, {"status": 429, "message": "Too many requests."}
        if fault == BROKEN:
            return 500, {"status": 500, "errorCode": "905", "message": "Payment details are not supported"}
        status, told = self._once(method, path, headers.get("idempotency-key", ""), asked)
        if fault == UNANSWERED:
            raise NotAnswered
        return status, told

    def _once(self, method: str, path: str, key: str, asked: Json) -> tuple[int, Json]:
        """The same key again has the same answer; with other contents it is refused."""
        same = hashlib.sha256(f"{path} {json.dumps(asked, sort_keys=True)}".encode()).hexdigest()
        if len(key) > 64:
            raise Refused(422, "703", "The idempotency key is too long.")
        if key in self._answers:
            known, status, told = self._answers[key]
            if known != same:
                raise Refused(422, "703", "The idempotency key was used for another request.")
            return status, told
        if method != "GET":
            self._must_fit(method, path, asked)
        status, told = self._call(method, path, asked)
        if key:
            self._answers[key] = (same, status, told)
        return status, told

    def _must_fit(self, method: str, path: str, asked: Json) -> None:
        shape = SHAPES.get((method, path.rpartition("/")[2] if method == "POST" else ""))
        if shape is None:
            raise Refused(404, "000", f"There is no {method} {path}.")
        try:
            shape.model_validate(asked, strict=True)
        except ValidationError as error:
            raise Refused(422, "14_002", f"Structure of the request is invalid: {error}") from error
        if asked.get("merchantAccount", MERCHANT) != MERCHANT:
            raise Refused(403, "901", "Invalid Merchant Account")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ", 2)
            headers = {
                name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines[1:])
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            try:
                status, told = self._answer(method, path, headers, body)
            except Refused as refused:
                status, told = refused.answer
            answer = json.dumps(told).encode()
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            more = "Retry-After: 7\r\n" if status == 429 else ""
            writer.write(
                f"{head}{more}Content-Length: {len(answer)}\r\nConnection: close\r\n\r\n".encode() + answer
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, NotAnswered):
            pass  # whoever asked is gone, or is to believe that we are
        finally:
            writer.close()


def notification(item: Json, key: str, live: str = "false", summary: str = "") -> bytes:
    """One item as Adyen sends it, signed with a key."""
    signature = generate_notification_sig(item, key).decode()
    extra = {"hmacSignature": signature} | ({"cardSummary": summary} if summary else {})
    whole = {"NotificationRequestItem": {**item, "additionalData": extra}}
    return json.dumps({"live": live, "notificationItems": [whole]}).encode()
