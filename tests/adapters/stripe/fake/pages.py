"""Checkout: pages that are opened, paid on as a person would, and expire."""

from tests.adapters.stripe.fake.errors import Refused
from tests.adapters.stripe.fake.paying import an_intent, confirmed, paid
from tests.adapters.stripe.fake.server import Api
from tests.adapters.stripe.fake.store import Json, Store
from tests.adapters.stripe.fake.subscribing import a_subscription

pages = Api()
DAY_S = 86_400
CARDS = {
    "4242424242424242": "pm_card_visa",
    "4000000000000002": "pm_card_chargeCustomerFail",
    "4000002500003155": "pm_card_authenticationRequired",
}


@pages.on("POST /v1/checkout/sessions", "checkout.SessionCreateParams")
def create(store: Store, asked: Json) -> Json:
    _must_be_complete(store, asked)
    amounts = [_amount(store, line) for line in asked["line_items"]]
    made = store.add(
        "cs_test",
        "checkout.session",
        mode=asked["mode"],
        status="open",
        payment_status="unpaid",
        amount_total=sum(amount for amount, _ in amounts),
        currency=amounts[0][1],
        customer=asked.get("customer"),
        client_reference_id=asked.get("client_reference_id"),
        metadata=asked.get("metadata", {}),
        payment_intent=None,
        subscription=None,
        invoice=None,
        expires_at=asked.get("expires_at", store.now_s() + DAY_S),
        success_url=asked["success_url"],
        _asked=asked,
    )
    made["url"] = f"{store.url}/pay/{made['id']}"
    return made


@pages.on("GET /v1/checkout/sessions", "checkout.SessionListParams")
def listed(store: Store, asked: Json) -> Json:
    found = store.all("checkout.session")
    for name in ("payment_intent", "customer", "subscription"):
        found = [each for each in found if name not in asked or each[name] == asked[name]]
    return store.page("/v1/checkout/sessions", found, asked)


@pages.on("GET /v1/checkout/sessions/{}", "checkout.SessionRetrieveParams")
def retrieve(store: Store, asked: Json, id: str) -> Json:
    return store.get("checkout.session", id)


@pages.on("POST /v1/checkout/sessions/{}/expire", "checkout.SessionExpireParams")
def expire(store: Store, asked: Json, id: str) -> Json:
    session = store.get("checkout.session", id)
    if session["status"] != "open":
        raise Refused(400, 'Only Checkout Sessions with a status in ["open"] can be expired.')
    session |= {"status": "expired", "url": None}
    if session["payment_intent"]:
        store.objects[session["payment_intent"]]["status"] = "requires_payment_method"
    store.tell("checkout.session.expired", session)
    return session


@pages.on("POST /pay/{}")
def pay(store: Store, asked: Json, id: str) -> Json:
    """What a payer does on the page: with a card of Stripe's, or `later` for a bank that takes days."""
    _pay(store, id, asked["card"])
    return {"object": "page", "html": "<p>Thank you."}


def _pay(store: Store, id: str, card: str) -> None:
    session = store.get("checkout.session", id)
    if session["status"] != "open":
        raise Refused(400, "This page is closed.")
    if session["mode"] == "subscription":
        a_subscription(store, session, CARDS[card])
        _complete(store, session, "paid")
        return
    intent = _intent_of(store, session)
    if card == "later":
        intent["status"] = "processing"
        store.tell("payment_intent.processing", intent)
        _complete(store, session, "unpaid")
        return
    confirmed(store, intent, CARDS[card])
    if intent["status"] == "requires_action":
        return
    _complete(store, session, "paid" if intent["status"] == "succeeded" else "unpaid")


def arrives(store: Store, id: str) -> None:
    """The money of a delayed payment is there."""
    session = store.get("checkout.session", id)
    paid(store, store.objects[session["payment_intent"]])
    session["payment_status"] = "paid"
    store.tell("checkout.session.async_payment_succeeded", session)


def fails(store: Store, id: str) -> None:
    """The bank of a delayed payment has no money for it."""
    session = store.get("checkout.session", id)
    error = {"type": "card_error", "code": "debit_not_authorized", "message": "The debit was refused."}
    intent = store.objects[session["payment_intent"]]
    intent |= {"status": "requires_payment_method", "last_payment_error": error}
    store.tell("payment_intent.payment_failed", intent)
    store.tell("checkout.session.async_payment_failed", session)


@pages.on("POST /bank/{}")
def bank(store: Store, asked: Json, id: str) -> Json:
    """The payer confirms at the bank."""
    intent = store.get("payment_intent", id)
    paid(store, intent)
    for session in store.of("checkout.session", "payment_intent", id):
        _complete(store, session, "paid")
    return {"object": "page", "html": "<p>Confirmed."}


def _complete(store: Store, session: Json, payment_status: str) -> None:
    session |= {"status": "complete", "payment_status": payment_status, "url": None}
    store.tell("checkout.session.completed", session)


def _intent_of(store: Store, session: Json) -> Json:
    """The payment of a page is made when somebody pays there."""
    if session["payment_intent"]:
        return store.objects[session["payment_intent"]]
    asked = session["_asked"].get("payment_intent_data", {})
    fields = {name: asked[name] for name in ("metadata", "capture_method", "description") if name in asked}
    made = an_intent(
        store, session["amount_total"], session["currency"], customer=session["customer"], **fields
    )
    session["payment_intent"] = made["id"]
    return made


def _amount(store: Store, line: Json) -> tuple[int, str]:
    if "price" in line:
        price = store.get("price", line["price"])
        if price["recurring"] and price["recurring"]["meter"]:
            if "quantity" in line:
                raise Refused(400, "You cannot set `quantity` for metered prices.")
            return 0, price["currency"]
        return price["unit_amount"] * line["quantity"], price["currency"]
    data = line["price_data"]
    return data["unit_amount"] * line["quantity"], data["currency"]


def _must_be_complete(store: Store, asked: Json) -> None:
    if not asked.get("success_url"):
        raise Refused(400, "Missing required param: success_url.", "parameter_missing", param="success_url")
    if asked.get("customer"):
        store.get("customer", asked["customer"])
    if "customer" in asked and "customer_email" in asked:
        raise Refused(400, "You may only specify one of these parameters: customer, customer_email.")
    if asked["mode"] == "subscription" and "payment_intent_data" in asked:
        raise Refused(400, "You can not pass `payment_intent_data` in `subscription` mode.")
    expires = asked.get("expires_at")
    if expires is not None and not store.now_s() + 1800 <= expires <= store.now_s() + DAY_S:
        raise Refused(400, "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.")
