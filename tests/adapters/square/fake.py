"""A stand-in of Square: stateful, over HTTP, and as strict as the SDK's own parameters."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from metergate.ports import Clock
from tests.adapters.faking import Asked, FakeServer, Json, Refusal, Told
from tests.adapters.square.params import SDK, strangers

TOKEN, SIGNATURE_KEY, LOCATION = "EAAA-token", "signature-key", "LMAIN"
ADDRESS = "https://pay.example.com/billing/v1/webhooks/square"
GOOD, BAD = "cnon:card-nonce-ok", "cnon:card-nonce-declined"


def refuse(status: int, code: str, category: str = "INVALID_REQUEST_ERROR") -> Refusal:
    said = {"category": category, "code": code, "detail": f"Square says {code}."}
    return Refusal(status, {"errors": [said]})


class FakeSquare:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.links: dict[str, Json] = {}
        self.orders: dict[str, Json] = {}
        self.payments: dict[str, Json] = {}
        self.refunds: dict[str, Json] = {}
        self.disputes: dict[str, Json] = {}
        self.customers: dict[str, Json] = {}
        self.cards: dict[str, Json] = {}
        self.events: list[bytes] = []
        self.page_size = 2
        self.sees_disputes = True
        self.keeps_events: bool | None = True
        """Whether events can be searched that happen now; None: it is a seller's token, which may not."""
        self.kept: list[Json] = []
        self.subscriptions: list[Json] = []
        self.server = FakeServer(self._answer, _writes)
        self._answers: dict[str, tuple[str, Told]] = {}
        self._numbers = count(1)

    # -- what a payer, a bank and a test do ----------------------------------------------------------------

    def pay(self, link: str, *, declined: bool = False, status: str = "COMPLETED") -> Json:
        """The payer fills in the page of a link."""
        order = self.orders[self.links[link]["order_id"]]
        assert order["state"] == "DRAFT", "Square shows no page for it any more."
        payment = self._new_payment(order["total_money"], {"order_id": order["id"], "note": "Online"})
        if declined:
            payment["status"] = "FAILED"
        else:
            payment["status"] = status
            tender = {"id": payment["id"], "type": "CARD", "payment_id": payment["id"]}
            order["tenders"] = [{**tender, "amount_money": payment["amount_money"]}]
            order["state"] = "OPEN"
        self._told(payment, "created")
        order["version"] += 1
        change = {"order_id": order["id"], "state": order["state"], "version": order["version"]}
        self.tell("order.updated", "order_updated", {"order_updated": change}, order["id"])
        return payment

    def be(self, payment: str, status: str) -> None:
        self.payments[payment]["status"] = status
        self._told(self.payments[payment], "updated")

    def dispute(self, payment: str, state: str = "LOST") -> None:
        id = self._id("dts")
        found = {
            "id": id,
            "state": state,
            "amount_money": self.payments[payment]["amount_money"],
            "disputed_payment": {"payment_id": payment},
            "version": next(self._numbers),
        }
        self.disputes[id] = found
        self.tell("dispute.state.updated", "dispute", {"dispute": found}, id)

    def refund(self, payment: Json, amount: Json, reason: str = "") -> Json:
        gone = sum(self.refunds[each]["amount_money"]["amount"] for each in payment.get("refund_ids", []))
        if amount["currency"] != payment["amount_money"]["currency"]:
            raise refuse(400, "CURRENCY_MISMATCH", "REFUND_ERROR")
        if gone + amount["amount"] > payment["amount_money"]["amount"]:
            raise refuse(400, "REFUND_AMOUNT_INVALID", "REFUND_ERROR")
        id = f"{payment['id']}_{self._id('r')}"
        about = {"amount_money": amount, "payment_id": payment["id"], "reason": reason}
        made = {"id": id, "status": "PENDING", **about}
        self.refunds[id] = made
        payment.setdefault("refund_ids", []).append(id)
        self.tell("refund.created", "refund", {"refund": made}, id)
        return made

    def finish_refunds(self, status: str = "COMPLETED") -> None:
        for each in self.refunds.values():
            each["status"] = status
            self.tell("refund.updated", "refund", {"refund": each}, each["id"])

    def tell(self, type: str, kind: str, object: Json, id: str) -> None:
        """News of what happened: kept, for whoever delivers it."""
        told = {"merchant_id": "M", "type": type, "event_id": f"evt-{next(self._numbers)}"}
        data = {"type": kind, "id": id, "object": object}
        event = json.dumps({**told, "created_at": self.now(), "data": data}).encode()
        self.events.append(event)
        if self.keeps_events:
            self.kept.append(json.loads(event))

    def headers(self, body: bytes, *, key: str = SIGNATURE_KEY, address: str = ADDRESS) -> dict[str, str]:
        mac = hmac.new(key.encode(), address.encode() + body, hashlib.sha256).digest()
        signature = base64.b64encode(mac).decode()
        return {"content-type": "application/json", "x-square-hmacsha256-signature": signature}

    def now(self) -> str:
        return datetime.fromtimestamp(self.clock() // 10**6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # -- HTTP ----------------------------------------------------------------------------------------------

    def _answer(self, asked: Asked) -> Told:
        if asked.path.startswith("/pay/"):
            self.pay(asked.path.removeprefix("/pay/"), declined="declined" in asked.query)
            return Told(200, {})
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise refuse(401, "UNAUTHORIZED", "AUTHENTICATION_ERROR")
        path = asked.path.removeprefix("/v2/").removeprefix("online-checkout/")
        kind, id, action = [*path.split("/"), "", ""][:3]
        handlers = self._handlers(id)
        name = f"{asked.method} {kind}{'/' + action if action else '/' if id else ''}"
        handler = handlers.get(f"{asked.method} {path}") or handlers.get(name)
        if handler is None:
            raise refuse(404, "NOT_FOUND")
        return self._once(asked, lambda: handler(asked))

    def _handlers(self, id: str) -> Mapping[str, Callable[[Asked], Json]]:
        return {
            "GET locations/": lambda _: {"location": {"id": LOCATION, "name": "Shop"}},
            "POST payment-links": self._new_link,
            "GET payment-links/": lambda _: {"payment_link": self._found(self.links, id)},
            "DELETE payment-links/": lambda _: self._delete_link(id),
            "GET orders/": lambda _: {"order": self._found(self.orders, id)},
            "GET payments": self._list_payments,
            "POST payments": self._charge,
            "GET payments/": lambda _: {"payment": self._found(self.payments, id)},
            "PUT payments/": lambda asked: self._update(id, asked),
            "POST payments/complete": lambda _: self._end(id, "COMPLETED"),
            "POST payments/cancel": lambda _: self._end(id, "CANCELED"),
            "POST refunds": self._refund,
            "GET refunds/": lambda _: {"refund": self._found(self.refunds, id)},
            "GET disputes": self._list_disputes,
            "GET webhooks/subscriptions": self._list_subscriptions,
            "POST events": self._list_events,
            "PUT events/enable": lambda _: self._keep_events(),
            "POST customers": self._new_customer,
            "POST customers/search": self._search,
            "GET customers/": lambda _: {"customer": self._found(self.customers, id)},
            "POST cards": self._new_card,
            "GET cards": self._list_cards,
            "POST cards/disable": lambda _: self._disable(id),
        }

    def _once(self, asked: Asked, work: Callable[[], Json]) -> Told:
        """The same idempotency key is answered as the first was; with other contents, not at all."""
        key = (asked.json or {}).get("idempotency_key", "") if asked.method in ("POST", "PUT") else ""
        if len(key) > (192 if "payment-links" in asked.path else 45):
            raise refuse(400, "VALUE_TOO_LONG")
        name, seen = f"{asked.path} {key}", hashlib.sha256(asked.body).hexdigest()
        known = self._answers.get(name)
        if key and known is not None:
            if known[0] != seen:
                raise refuse(400, "IDEMPOTENCY_KEY_REUSED")
            return known[1]
        told = Told(200, json.loads(json.dumps(work())))
        if key:
            self._answers[name] = (seen, told)
        return told

    # -- checkouts and payments ----------------------------------------------------------------------------

    def _new_link(self, asked: Asked) -> Json:
        body = read(SDK.checkout.payment_links.create, asked)
        order = body["order"]
        [line] = order["line_items"]
        total = line["base_price_money"]
        if total["amount"] <= 0 or line["quantity"] != "1":
            raise refuse(400, "INVALID_VALUE")
        made = {**order, "id": self._id("O"), "state": "DRAFT", "total_money": total, "version": 1}
        if len(order["reference_id"]) > 40 or order["location_id"] != LOCATION:
            raise refuse(400, "INVALID_VALUE")
        self.orders[made["id"]] = made
        id = self._id("L")
        url = f"{self.server.url}/pay/{id}"
        self.links[id] = {"id": id, "version": 1, "order_id": made["id"], "url": url}
        return {"payment_link": self.links[id], "related_resources": {"orders": [made]}}

    def _delete_link(self, id: str) -> Json:
        order = self.orders[self._found(self.links, id)["order_id"]]
        if order["state"] != "DRAFT":
            raise refuse(400, "BAD_REQUEST")
        order["state"] = "CANCELED"
        del self.links[id]
        return {"id": id, "cancelled_order_id": order["id"]}

    def _charge(self, asked: Asked) -> Json:
        body = read(SDK.payments.create, asked)
        card = self.cards.get(body["source_id"])
        if card is None or not card["enabled"]:
            raise refuse(404, "CARD_NOT_FOUND")
        if body["customer_id"] != card["customer_id"] or len(body["reference_id"]) > 40:
            raise refuse(400, "INVALID_VALUE")
        if card["declined"]:
            raise refuse(402, "CARD_DECLINED", "PAYMENT_METHOD_ERROR")
        order: Json = {"id": self._id("O"), "location_id": LOCATION, "state": "OPEN", "version": 1}
        self.orders[order["id"]] = {**order, "total_money": body["amount_money"]}
        kept: Json = {name: body[name] for name in ("customer_id", "reference_id", "note") if name in body}
        payment = self._new_payment(body["amount_money"], {**kept, "order_id": order["id"]})
        payment["status"] = "COMPLETED" if body.get("autocomplete", True) else "APPROVED"
        self._told(payment, "created")
        return {"payment": payment}

    def _new_payment(self, amount: Json, more: Json) -> Json:
        card = {"card_brand": "VISA", "last_4": "1111"}
        payment = {
            "id": self._id("P"),
            "created_at": self.now(),
            "amount_money": dict(amount),
            "total_money": dict(amount),
            "location_id": LOCATION,
            "source_type": "CARD",
            "card_details": {"status": "CAPTURED", "card": card},
            "version_token": f"v{next(self._numbers)}",
            **more,
        }
        self.payments[payment["id"]] = payment
        return payment

    def _update(self, id: str, asked: Asked) -> Json:
        payment, change = self._found(self.payments, id), read(SDK.payments.update, asked)["payment"]
        if payment["status"] != "APPROVED" or change["version_token"] != payment["version_token"]:
            raise refuse(400, "VERSION_MISMATCH")
        payment["amount_money"] = change["amount_money"]
        payment["version_token"] = f"v{next(self._numbers)}"
        return {"payment": payment}

    def _end(self, id: str, status: str) -> Json:
        payment = self._found(self.payments, id)
        if payment["status"] != "APPROVED":
            raise refuse(400, "INVALID_PAYMENT_STATE")
        self.be(id, status)
        return {"payment": payment}

    def _list_payments(self, asked: Asked) -> Json:
        since = datetime.fromisoformat(asked.query["begin_time"])
        found = [
            each
            for each in self.payments.values()
            if datetime.fromisoformat(each["created_at"]) >= since
            and each["location_id"] == asked.query["location_id"]
        ]
        return self._page("payments", found, asked)

    def _list_disputes(self, asked: Asked) -> Json:
        if not self.sees_disputes:
            raise refuse(403, "INSUFFICIENT_SCOPES", "AUTHENTICATION_ERROR")
        return self._page("disputes", list(self.disputes.values()), asked)

    def _keep_events(self) -> Json:
        if self.keeps_events is None:
            raise refuse(403, "FORBIDDEN", "AUTHENTICATION_ERROR")
        self.keeps_events = True
        return {}

    def _list_subscriptions(self, asked: Asked) -> Json:
        if self.keeps_events is None:
            raise refuse(403, "FORBIDDEN", "AUTHENTICATION_ERROR")
        return self._page("subscriptions", self.subscriptions, asked)

    def _list_events(self, asked: Asked) -> Json:
        body = read(SDK.events.search_events, asked)
        wanted = body["query"]["filter"]
        start, end = (datetime.fromisoformat(wanted["created_at"][name]) for name in ("start_at", "end_at"))
        if datetime.fromisoformat(self.now()) - start > timedelta(days=28):
            raise refuse(400, "INVALID_TIME_RANGE")
        found = [
            each
            for each in self.kept
            if each["type"] in wanted["event_types"]
            and start <= datetime.fromisoformat(each["created_at"]) <= end
        ]
        listed = [{**each, "created_at": f"{each['created_at'][:-1]}.454726"} for each in found[::-1]]
        return self._page("events", listed, asked._replace(query=body))

    def _refund(self, asked: Asked) -> Json:
        body = read(SDK.refunds.refund_payment, asked)
        payment = self._found(self.payments, body["payment_id"])
        if len(body["reason"]) > 192 or payment["status"] != "COMPLETED":
            raise refuse(400, "INVALID_VALUE")
        return {"refund": self.refund(payment, body["amount_money"], body["reason"])}

    # -- customers and cards -------------------------------------------------------------------------------

    def _new_customer(self, asked: Asked) -> Json:
        body = read(SDK.customers.create, asked)
        made = {"id": self._id("CUS"), **{name: body[name] for name in body if name != "idempotency_key"}}
        self.customers[made["id"]] = made
        return {"customer": made}

    def _search(self, asked: Asked) -> Json:
        wanted = read(SDK.customers.search, asked)["query"]["filter"]["reference_id"]["exact"]
        found = [each for each in self.customers.values() if each.get("reference_id") == wanted]
        return {"customers": found} if found else {}

    def _new_card(self, asked: Asked) -> Json:
        body = read(SDK.cards.create, asked)
        if body["source_id"] not in (GOOD, BAD):
            raise refuse(400, "INVALID_CARD_DATA", "PAYMENT_METHOD_ERROR")
        id = f"ccof:{self._id('C')}"
        kept = {"id": id, "card_brand": "VISA", "last_4": "1111", "enabled": True, **body["card"]}
        self.cards[id] = {**kept, "declined": body["source_id"] == BAD}
        return {"card": kept}

    def _list_cards(self, asked: Asked) -> Json:
        owner = asked.query["customer_id"]
        found = [each for each in self.cards.values() if each["customer_id"] == owner and each["enabled"]]
        return self._page("cards", found, asked)

    def _disable(self, id: str) -> Json:
        self._found(self.cards, id)["enabled"] = False
        return {"card": self.cards[id]}

    # -- what they share -----------------------------------------------------------------------------------

    def _page(self, name: str, found: list[Json], asked: Asked) -> Json:
        start = int(asked.query.get("cursor", "0"))
        end = start + self.page_size
        return {name: found[start:end], **({"cursor": str(end)} if end < len(found) else {})}

    def _told(self, payment: Json, change: str) -> None:
        self.tell(f"payment.{change}", "payment", {"payment": payment}, payment["id"])

    def _found(self, there: dict[str, Json], id: str) -> Json:
        if id not in there:
            raise refuse(404, "NOT_FOUND")
        return there[id]

    def _id(self, kind: str) -> str:
        return f"{kind}{hashlib.sha256(f'{kind}{next(self._numbers)}'.encode()).hexdigest()[:20]}"


def _writes(asked: Asked) -> bool:
    looks = asked.path.endswith(("/search", "/v2/events", "/v2/events/enable"))
    return asked.method in ("POST", "PUT", "DELETE") and not looks


def read(method: Any, asked: Asked) -> Json:
    """The body, if the SDK's method takes it."""
    body: Json = asked.json
    wrong = strangers(method, body)
    if wrong:
        raise refuse(400, f"UNEXPECTED_VALUE: {wrong}")
    return body
