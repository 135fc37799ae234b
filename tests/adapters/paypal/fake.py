"""A stand-in of PayPal: stateful, over HTTP, and as strict as the SDK's own models are exact."""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import urlencode

from paypalserversdk.api_helper import APIHelper
from paypalserversdk.models.capture_request import CaptureRequest
from paypalserversdk.models.captured_payment import CapturedPayment
from paypalserversdk.models.order import Order
from paypalserversdk.models.order_request import OrderRequest
from paypalserversdk.models.refund import Refund
from paypalserversdk.models.refund_request import RefundRequest

from metergate.ports import Clock
from tests.adapters.faking import Asked, FakeServer, Json, Refusal, Told
from tests.adapters.paypal.signing import Signer

CLIENT_ID, SECRET, WEBHOOK = "client", "client-secret", "WH1234567890"
TOKEN_S = 32_400
KEYS_KEPT_S = 6 * 3600
WITHOUT_DECIMALS = ("HUF", "JPY", "TWD")


def refuse(status: int, issue: str, links: list[Json] | None = None) -> Refusal:
    details = [{"issue": issue, "description": f"As PayPal says: {issue}."}]
    body = {"name": "NO", "message": "No.", "debug_id": "d", "details": details, "links": links or []}
    return Refusal(status, body)


class FakePayPal:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.orders: dict[str, Json] = {}
        self.captures: dict[str, Json] = {}
        self.authorizations: dict[str, Json] = {}
        self.disputes: dict[str, Json] = {}
        self.events: list[bytes] = []
        self.sees_disputes = True
        self.webhooks: dict[str, Json] = {}
        self.token_trouble: Told | None = None
        self.captured = 0
        """How often money was really taken."""
        self.server = FakeServer(self._answer, lambda asked: asked.method == "POST" and "/v2/" in asked.path)
        self.signer = Signer(clock, WEBHOOK)
        self._tokens: dict[str, int] = {}
        self._answers: dict[str, tuple[str, int, Told]] = {}
        self._numbers = count(1)
        self._declines: set[str] = set()

    # -- what a payer, a bank and a test do ----------------------------------------------------------------

    def approve(self, id: str, *, declined: bool = False) -> None:
        """The payer agrees; `declined` is with a card that his bank will refuse when it is captured."""
        order = self.orders[id]
        order["status"] = "APPROVED"
        order["update_time"] = f"{self.now()[:-1]}.{next(self._numbers):03d}Z"
        (self._declines.add if declined else self._declines.discard)(id)
        self.tell("CHECKOUT.ORDER.APPROVED", order)

    def dispute(self, capture: str, outcome: str = "RESOLVED_BUYER_FAVOUR", value: str = "") -> str:
        """Lost disputes come with a refund that nobody asked for."""
        paid = self.captures[capture]
        amount = {**paid["amount"], "value": value or paid["amount"]["value"]}
        id = f"PP-D-{next(self._numbers)}"
        transaction = {"seller_transaction_id": capture}
        self.disputes[id] = {
            "dispute_id": id,
            "disputed_transactions": [transaction],
            "dispute_amount": amount,
            "status": "RESOLVED",
            "dispute_outcome": {"outcome_code": outcome, "amount_refunded": amount},
        }
        if outcome == "RESOLVED_BUYER_FAVOUR":
            self.refund(paid, amount, {})
        self.tell("CUSTOMER.DISPUTE.RESOLVED", self.disputes[id])
        return id

    def revoke_tokens(self) -> None:
        self._tokens.clear()

    def tell(self, type: str, resource: Json) -> None:
        """News of what happened: kept, for whoever delivers it."""
        told = {"id": f"WH-{next(self._numbers)}", "event_type": type, "create_time": self.now()}
        self.events.append(json.dumps({**told, "resource": resource}).encode())

    def now(self) -> str:
        return datetime.fromtimestamp(self.clock() // 10**6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # -- HTTP ----------------------------------------------------------------------------------------------

    def _answer(self, asked: Asked) -> Told:
        parts = asked.path.strip("/").split("/")
        if asked.path == "/v1/oauth2/token":
            return self.token_trouble or self._token(asked)
        if asked.path.startswith("/v1/notifications/certs/"):
            return Told(200, self.signer.chain) if parts[-1] == "CERT-1" else Told(404)
        if asked.path == "/checkoutnow":
            self.approve(asked.query["token"], declined="declined" in asked.query)
            return Told(200, {})
        self._must_know(asked)
        if asked.path.startswith("/v1/notifications/webhooks/"):
            return Told(200, self._found(self.webhooks, parts[-1]))
        if parts[1] == "notifications":
            return self._list_events(asked)
        if parts[1] == "customer":
            return self._disputed(asked, parts[3:])
        handlers: dict[tuple[str, str, str], Callable[[str, Asked], Json]] = {
            ("POST", "orders", ""): lambda _, asked: self._create(asked),
            ("GET", "orders", ""): lambda name, _: self._found(self.orders, name),
            ("POST", "orders", "capture"): self._capture_order,
            ("POST", "orders", "authorize"): self._authorize_order,
            ("GET", "captures", ""): lambda name, _: self._found(self.captures, name),
            ("POST", "captures", "refund"): self._refund_capture,
            ("POST", "authorizations", "capture"): self._capture_authorization,
            ("POST", "authorizations", "void"): self._void,
        }
        kind, id, action = [*parts[2:5], "", "", ""][:3]
        handler = handlers.get((asked.method, kind, action))
        if handler is None:
            raise refuse(404, "NO_SUCH_CALL")
        return self._once(asked, lambda: handler(id, asked))

    def _token(self, asked: Asked) -> Told:
        known = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        if asked.headers.get("authorization") != f"Basic {known}":
            return Told(401, {"error": "invalid_client", "error_description": "Client Authentication failed"})
        token = f"A21-{next(self._numbers)}"
        self._tokens[token] = self.clock() + TOKEN_S * 10**6
        return Told(200, {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_S})

    def _must_know(self, asked: Asked) -> None:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0) <= self.clock():
            raise Refusal(
                401, {"error": "invalid_token", "error_description": "Token signature check failed"}
            )

    def _once(self, asked: Asked, work: Callable[[], Json]) -> Told:
        """The same PayPal-Request-Id is answered as the first was; with other contents, not at all."""
        key = asked.headers.get("paypal-request-id", "") if asked.method == "POST" else ""
        if len(key) > 108 or (asked.method == "POST" and not key):
            raise refuse(400, "INVALID_REQUEST_ID")
        seen = f"{asked.path} {hashlib.sha256(asked.body).hexdigest()}"
        known, at_us, told = self._answers.get(key, ("", 0, Told(0)))
        if key and known and self.clock() - at_us < KEYS_KEPT_S * 10**6:
            if known != seen:
                raise refuse(422, "DUPLICATE_REQUEST_ID")
            return told
        try:
            told = Told(200 if asked.method == "GET" else 201, json.loads(json.dumps(work())))
        except Refusal as refusal:
            if refusal.told.status == 422 and key:
                self._answers[key] = (seen, self.clock(), refusal.told)
            raise
        if key:
            self._answers[key] = (seen, self.clock(), told)
        return told

    # -- orders --------------------------------------------------------------------------------------------

    def _create(self, asked: Asked) -> Json:
        body = read(OrderRequest, asked)
        [unit] = body["purchase_units"]
        exact(unit["amount"])
        if body["intent"] not in ("CAPTURE", "AUTHORIZE"):
            raise refuse(400, "INVALID_PARAMETER_VALUE")
        id = self._id("O")
        page = f"{self.server.url}/checkoutnow?{urlencode({'token': id})}"
        [source] = list(body["payment_source"])
        order = {
            "id": id,
            "intent": body["intent"],
            "status": "PAYER_ACTION_REQUIRED",
            "create_time": self.now(),
            "payment_source": {source: {"email_address": "payer@example.com"}},
            "purchase_units": [{"reference_id": "default", **unit}],
            "links": [{"rel": "payer-action", "href": page, "method": "GET"}],
        }
        assert strangers(Order, order) == []
        self.orders[id] = order
        return order

    def _capture_order(self, id: str, asked: Asked) -> Json:
        order = self._approved(id, "CAPTURE")
        unit = order["purchase_units"][0]
        self._capture(order, unit["amount"])
        return order

    def _authorize_order(self, id: str, asked: Asked) -> Json:
        order = self._approved(id, "AUTHORIZE")
        unit = order["purchase_units"][0]
        held: Json = {"id": self._id("A"), "status": "CREATED", "amount": dict(unit["amount"])}
        self.authorizations[held["id"]] = {**held, "order": id}
        unit["payments"] = {"authorizations": [held]}
        order["status"] = "COMPLETED"
        return order

    def _approved(self, id: str, intent: str) -> Json:
        order = self._found(self.orders, id)
        if order["status"] == "COMPLETED":
            raise refuse(422, f"ORDER_ALREADY_{intent}D")
        if order["status"] != "APPROVED":
            raise refuse(422, "ORDER_NOT_APPROVED", order["links"])
        assert order["intent"] == intent
        if id in self._declines:
            raise refuse(422, "INSTRUMENT_DECLINED", order["links"])
        return order

    def _capture(self, order: Json, amount: Json) -> Json:
        unit = order["purchase_units"][0]
        made = {
            "id": self._id("C"),
            "status": "COMPLETED",
            "amount": {name: amount[name] for name in ("currency_code", "value")},
            "custom_id": unit["custom_id"],
            "create_time": self.now(),
        }
        unit.setdefault("payments", {}).setdefault("captures", []).append(made)
        order["status"] = "COMPLETED"
        related = {"supplementary_data": {"related_ids": {"order_id": order["id"]}}}
        self.captures[made["id"]] = {**made, **related}
        assert strangers(CapturedPayment, self.captures[made["id"]]) == []
        self.captured += 1
        self.tell("PAYMENT.CAPTURE.COMPLETED", self.captures[made["id"]])
        return made

    # -- authorizations, refunds, disputes -----------------------------------------------------------------

    def _capture_authorization(self, id: str, asked: Asked) -> Json:
        held, body = self._found(self.authorizations, id), read(CaptureRequest, asked)
        if held["status"] != "CREATED":
            raise refuse(422, f"AUTHORIZATION_{held['status']}")
        exact(body["amount"])
        self._be(held, "CAPTURED")
        return self._capture(self.orders[held["order"]], body["amount"])

    def _void(self, id: str, asked: Asked) -> Json:
        held = self._found(self.authorizations, id)
        self._be(held, "VOIDED")
        return {"id": id, "status": "VOIDED"}

    def _be(self, held: Json, status: str) -> None:
        held["status"] = status
        unit = self.orders[held["order"]]["purchase_units"][0]
        unit["payments"]["authorizations"][0]["status"] = status

    def _refund_capture(self, id: str, asked: Asked) -> Json:
        paid, body = self._found(self.captures, id), read(RefundRequest, asked)
        exact(body["amount"])
        return self.refund(paid, body["amount"], {"custom_id": body["custom_id"]})

    def refund(self, paid: Json, amount: Json, told: Json) -> Json:
        order = self.orders[paid["supplementary_data"]["related_ids"]["order_id"]]
        payments = order["purchase_units"][0]["payments"]
        refunds = payments.setdefault("refunds", [])
        gone = sum(cents(each["amount"]) for each in refunds) + cents(amount)
        if gone > cents(paid["amount"]):
            raise refuse(422, "REFUND_AMOUNT_EXCEEDED")
        up = {"rel": "up", "method": "GET", "href": f"{self.server.url}/v2/payments/captures/{paid['id']}"}
        made = {"id": self._id("R"), "status": "COMPLETED", "amount": amount, **told, "links": [up]}
        assert strangers(Refund, made) == []
        refunds.append(made)
        status = "REFUNDED" if gone == cents(paid["amount"]) else "PARTIALLY_REFUNDED"
        paid["status"] = payments["captures"][0]["status"] = status
        self.tell("PAYMENT.CAPTURE.REFUNDED", made)
        return made

    def _disputed(self, asked: Asked, rest: list[str]) -> Told:
        if not self.sees_disputes:
            raise Refusal(403, {"name": "NOT_AUTHORIZED", "message": "Insufficient permissions."})
        if rest:
            return Told(200, self._found(self.disputes, rest[0]))
        about = asked.query.get("disputed_transaction_id", "")
        found = [
            {"dispute_id": id, "status": each["status"], "dispute_amount": each["dispute_amount"]}
            for id, each in self.disputes.items()
            if each["disputed_transactions"][0]["seller_transaction_id"] == about
        ]
        return Told(200, {"items": found})

    def _list_events(self, asked: Asked) -> Told:
        """The newest first, a few on a page."""
        query = asked.query
        told = [json.loads(each) for each in reversed(self.events)]
        told = [each for each in told if query["start_time"] <= each["create_time"] <= query["end_time"]]
        at = int(query.get("at", "0"))
        more = urlencode({**query, "at": at + 2})
        url = f"{self.server.url}{asked.path}?{more}"
        links = [{"rel": "next", "href": url, "method": "GET"}] if at + 2 < len(told) else []
        return Told(200, {"events": told[at : at + 2], "count": len(told), "links": links})

    def _found(self, there: dict[str, Json], id: str) -> Json:
        if id not in there:
            raise refuse(404, "INVALID_RESOURCE_ID")
        return there[id]

    def _id(self, kind: str) -> str:
        """Seventeen letters and digits, like PayPal's."""
        return f"{kind}{hashlib.sha256(f'{kind}{next(self._numbers)}'.encode()).hexdigest()[:16].upper()}"


def read(model: Any, asked: Asked) -> Json:
    """The body, if it has what the SDK's model has and nothing else."""
    body: Json = asked.json
    unknown = strangers(model, body)
    if unknown:
        raise refuse(400, f"MALFORMED_REQUEST_JSON: {unknown}")
    return body


def strangers(model: Any, body: Json) -> list[str]:
    """What of a body the SDK's model does not know, or what it wants and has not got."""
    try:
        told = json.loads(APIHelper.json_serialize(model.from_dictionary(body)))
    except ValueError as error:
        return [str(error)]
    return _differences("", body, told)


def _differences(path: str, body: Any, told: Any) -> list[str]:
    if isinstance(body, dict) and isinstance(told, dict):
        wanted = [f"{path}/{name}" for name in told if told[name] is None]
        return wanted + [
            each for name in body for each in _differences(f"{path}/{name}", body[name], told.get(name))
        ]
    if isinstance(body, list) and isinstance(told, list) and len(body) == len(told):
        pairs = enumerate(zip(body, told, strict=True))
        return [each for at, (one, other) in pairs for each in _differences(f"{path}/{at}", one, other)]
    return [] if body == told else [path]


def exact(amount: Json) -> None:
    """PayPal's own rules of decimals."""
    whole, _, fraction = amount["value"].partition(".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()) or cents(amount) <= 0:
        raise refuse(422, "CANNOT_BE_ZERO_OR_NEGATIVE")
    if amount["currency_code"] in WITHOUT_DECIMALS and fraction:
        raise refuse(422, "DECIMALS_NOT_SUPPORTED")
    if len(fraction) > 2:
        raise refuse(422, "DECIMAL_PRECISION")


def cents(amount: Json) -> int:
    whole, _, fraction = amount["value"].partition(".")
    return int(whole) * 100 + int((fraction or "0").ljust(2, "0"))
