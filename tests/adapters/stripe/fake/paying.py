"""Payments and what becomes of them at the bank; captures, refunds and disputes."""

from typing import Any

from tests.adapters.stripe.fake.errors import Refused
from tests.adapters.stripe.fake.people import TOKENS, a_method
from tests.adapters.stripe.fake.server import Api
from tests.adapters.stripe.fake.store import Json, Store

paying = Api()
paying.lists("/v1/payment_intents", "payment_intent", "PaymentIntent")


@paying.on("POST /v1/payment_intents", "PaymentIntentCreateParams")
def create(store: Store, asked: Json) -> Json:
    if asked["amount"] <= 0:
        raise Refused(400, "This value must be greater than or equal to 1.", "parameter_invalid_integer")
    made = an_intent(
        store,
        asked["amount"],
        asked["currency"],
        customer=asked.get("customer"),
        metadata=asked.get("metadata", {}),
        capture_method=asked.get("capture_method", "automatic"),
        description=asked.get("description"),
    )
    if asked.get("confirm"):
        confirmed(store, made, asked["payment_method"], off_session=asked.get("off_session") == "true")
    return made


@paying.on("POST /v1/payment_intents/{}/confirm", "PaymentIntentConfirmParams")
def confirm(store: Store, asked: Json, id: str) -> Json:
    intent = store.get("payment_intent", id)
    off_session = asked.get("off_session") == "true"
    confirmed(
        store, intent, asked["payment_method"], off_session=off_session, back=asked.get("return_url", "")
    )
    return intent


@paying.on("POST /v1/payment_intents/{}/capture", "PaymentIntentCaptureParams")
def capture(store: Store, asked: Json, id: str) -> Json:
    intent = store.get("payment_intent", id)
    if intent["status"] != "requires_capture":
        raise _unexpected(intent, "captured")
    taken = asked.get("amount_to_capture", intent["amount"])
    if taken > intent["amount"]:
        raise Refused(400, "You cannot capture more than was authorized.", "amount_too_large")
    intent |= {"status": "succeeded", "amount_received": taken, "amount_capturable": 0}
    store.objects[intent["latest_charge"]] |= {"captured": True, "amount_captured": taken}
    store.tell("payment_intent.succeeded", intent)
    return intent


@paying.on("POST /v1/payment_intents/{}/cancel", "PaymentIntentCancelParams")
def cancel(store: Store, asked: Json, id: str) -> Json:
    intent = store.get("payment_intent", id)
    if intent["status"] in ("succeeded", "canceled", "processing"):
        raise _unexpected(intent, "canceled")
    page = store.of("checkout.session", "payment_intent", id)
    if page and intent["status"] != "requires_capture":
        raise Refused(400, "You cannot cancel the PaymentIntent of a Checkout Session; expire the session.")
    intent["status"] = "canceled"
    store.tell("payment_intent.canceled", intent)
    return intent


@paying.on("GET /v1/charges/{}", "ChargeRetrieveParams")
def charge(store: Store, asked: Json, id: str) -> Json:
    return store.get("charge", id)


@paying.on("POST /v1/refunds", "RefundCreateParams")
def refund(store: Store, asked: Json) -> Json:
    intent = store.get("payment_intent", asked["payment_intent"])
    if intent["status"] != "succeeded":
        raise Refused(400, "This PaymentIntent does not have a successful charge to refund.")
    charge = store.objects[intent["latest_charge"]]
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = asked.get("amount", left)
    if amount > left:
        code = "charge_already_refunded" if not left else "amount_too_large"
        raise Refused(400, f"Refund amount ({amount}) is greater than unrefunded amount ({left})", code)
    made = store.add(
        "re",
        "refund",
        amount=amount,
        currency=intent["currency"],
        status="succeeded",
        charge=charge["id"],
        payment_intent=intent["id"],
        metadata=asked.get("metadata", {}),
    )
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    store.tell("refund.created", made)
    store.tell("charge.refunded", charge)
    return made


@paying.on("GET /v1/refunds", "RefundListParams")
def refunds(store: Store, asked: Json) -> Json:
    return store.page("/v1/refunds", store.of("refund", "payment_intent", asked["payment_intent"]), asked)


@paying.on("GET /v1/disputes", "DisputeListParams")
def disputes(store: Store, asked: Json) -> Json:
    return store.page("/v1/disputes", store.of("dispute", "payment_intent", asked["payment_intent"]), asked)


def an_intent(store: Store, amount: int, currency: str, **fields: Any) -> Json:
    nothing = dict.fromkeys(
        ("customer", "payment_method", "latest_charge", "next_action", "last_payment_error")
    )
    made = store.add(
        "pi",
        "payment_intent",
        amount=amount,
        amount_received=0,
        amount_capturable=0,
        currency=currency,
        status="requires_payment_method",
        **{**nothing, "metadata": {}, "capture_method": "automatic", "description": None, **fields},
    )
    store.tell("payment_intent.created", made)
    return made


def confirmed(store: Store, intent: Json, method: str, *, off_session: bool = False, back: str = "") -> None:
    """What the bank says: it pays, it declines, or it wants to hear from its customer."""
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise _unexpected(intent, "confirmed")
    paid_with = a_method(store, method)
    if method in TOKENS:  # what a card that was typed becomes
        kept = {name: paid_with[name] for name in ("type", "card", "_bank", "customer", "metadata")}
        method = store.add("pm", "payment_method", **kept)["id"]
    if paid_with["customer"] not in (None, intent["customer"]):
        raise Refused(400, f"The customer does not have a payment method with the ID {method}.")
    intent |= {"payment_method": method, "last_payment_error": None}
    if paid_with["_bank"] == "declines":
        raise _failed(store, intent, "card_declined", "Your card was declined.")
    if paid_with["_bank"] == "asks" and off_session:
        raise _failed(store, intent, "authentication_required", "Your card requires authentication.")
    if paid_with["_bank"] == "asks":
        there = {"url": f"{store.url}/bank/{intent['id']}", "return_url": back}
        intent |= {
            "status": "requires_action",
            "next_action": {"type": "redirect_to_url", "redirect_to_url": there},
        }
        store.tell("payment_intent.requires_action", intent)
        return
    paid(store, intent)


def paid(store: Store, intent: Json) -> None:
    amount, manual = intent["amount"], intent["capture_method"] == "manual"
    made = store.add(
        "ch",
        "charge",
        amount=amount,
        amount_captured=0 if manual else amount,
        amount_refunded=0,
        captured=not manual,
        refunded=False,
        disputed=False,
        currency=intent["currency"],
        payment_intent=intent["id"],
        status="succeeded",
        metadata=dict(intent["metadata"]),
    )
    intent |= {"latest_charge": made["id"], "next_action": None, "last_payment_error": None}
    if manual:
        intent |= {"status": "requires_capture", "amount_capturable": amount}
        store.tell("payment_intent.amount_capturable_updated", intent)
        return
    intent |= {"status": "succeeded", "amount_received": amount}
    store.tell("payment_intent.succeeded", intent)
    store.tell("charge.succeeded", made)


def disputed(store: Store, intent: Json, status: str, amount: int = 0) -> Json:
    """The payer's bank takes everything back, or a part of it, or says how that ended."""
    known = store.of("dispute", "payment_intent", intent["id"])
    if known:
        known[0]["status"] = status
        store.tell("charge.dispute.closed", known[0])
        return known[0]
    store.objects[intent["latest_charge"]]["disputed"] = True
    made = store.add(
        "dp",
        "dispute",
        amount=amount or intent["amount_received"],
        currency=intent["currency"],
        status=status,
        charge=intent["latest_charge"],
        payment_intent=intent["id"],
        metadata={},
    )
    store.tell("charge.dispute.created", made)
    return made


def _failed(store: Store, intent: Json, code: str, message: str) -> Refused:
    error = {"type": "card_error", "code": code, "message": message}
    intent |= {"status": "requires_payment_method", "last_payment_error": error}
    store.tell("payment_intent.payment_failed", intent)
    return Refused(402, message, code, payment_intent=intent)


def _unexpected(intent: Json, what: str) -> Refused:
    message = f"This PaymentIntent could not be {what} because it has a status of {intent['status']}."
    return Refused(400, message, "payment_intent_unexpected_state")
