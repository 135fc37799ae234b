"""Subscriptions, which begin with an invoice that is paid, and events that are read afterwards."""

from datetime import UTC, datetime, timedelta
from typing import Final

from tests.adapters.stripe.fake.errors import Refused
from tests.adapters.stripe.fake.invoicing import an_invoice, attempt
from tests.adapters.stripe.fake.server import Api
from tests.adapters.stripe.fake.store import Json, Store

subscribing = Api()
subscribing.lists("/v1/subscriptions", "subscription", "Subscription")

_DAYS: Final = {"day": 1, "week": 7, "month": 31, "year": 365}


@subscribing.on("POST /v1/subscriptions", "SubscriptionCreateParams")
def create(store: Store, asked: Json) -> Json:
    store.get("customer", asked["customer"])
    price = store.get("price", asked["items"][0]["price"])
    return begun(
        store,
        asked["customer"],
        price,
        asked["default_payment_method"],
        metadata=asked.get("metadata", {}),
        off_session=bool(asked.get("off_session")),
    )


@subscribing.on("POST /v1/subscriptions/{}", "SubscriptionUpdateParams")
def update(store: Store, asked: Json, id: str) -> Json:
    known = store.get("subscription", id)
    known |= {name: asked[name] for name in ("cancel_at_period_end",) if name in asked}
    store.tell("customer.subscription.updated", known)
    return known


@subscribing.on("DELETE /v1/subscriptions/{}", "SubscriptionCancelParams")
def cancel(store: Store, asked: Json, id: str) -> Json:
    known = store.get("subscription", id)
    if known["status"] == "canceled":
        raise Refused(404, f"No such subscription: '{id}'", "resource_missing")
    known["status"] = "canceled"
    for invoice in store.all("invoice"):
        if invoice["_subscription"] == id and invoice["status"] == "open":
            invoice["status"] = "void"
    store.tell("customer.subscription.deleted", known)
    return known


def a_subscription(store: Store, session: Json, method: str) -> Json:
    """What a page in subscription mode begins."""
    price = store.get("price", session["_asked"]["line_items"][0]["price"])
    metadata = session["_asked"].get("subscription_data", {}).get("metadata", {})
    customer = session["customer"] or store.add("cus", "customer", email=None, name=None, metadata={})["id"]
    made = begun(store, customer, price, method, metadata=metadata)
    paid = store.objects[made["latest_invoice"]]
    if paid["status"] != "paid":
        store.objects.pop(made["id"])
        raise Refused(402, "Your card was declined.", "card_declined")
    session |= {"subscription": made["id"], "invoice": paid["id"], "customer": customer}
    return made


def begun(
    store: Store, customer: str, price: Json, method: str, *, metadata: Json, off_session: bool = False
) -> Json:
    item = {
        "id": f"si_{price['id']}",
        "object": "subscription_item",
        "price": price,
        "quantity": 1,
        "metadata": {},
        **_period(store, price),
    }
    made = store.add(
        "sub",
        "subscription",
        customer=customer,
        status="incomplete",
        metadata=metadata,
        items={"object": "list", "data": [item], "has_more": False, "url": "/v1/subscription_items"},
        cancel_at_period_end=False,
        cancel_at=None,
        default_payment_method=method,
        latest_invoice=None,
    )
    renewed(store, made, "subscription_create", off_session=off_session)
    store.tell("customer.subscription.created", made)
    return made


def renewed(store: Store, known: Json, why: str = "subscription_cycle", *, off_session: bool = True) -> Json:
    """An invoice for a period, which the kept method pays or not."""
    item = known["items"]["data"][0]
    invoice = an_invoice(
        store,
        known["customer"],
        item["price"]["currency"],
        [{"amount": item["price"]["unit_amount"], "description": "A period"}],
        subscription=known["id"],
        billing_reason=why,
    )
    known["latest_invoice"] = invoice["id"]
    attempt(store, invoice, known["default_payment_method"], off_session=off_session)
    first = why == "subscription_create"
    known["status"] = "active" if invoice["status"] == "paid" else "incomplete" if first else "past_due"
    if not first:
        item |= _period(store, item["price"], after=item["current_period_end"])
        store.tell("customer.subscription.updated", known)
    return invoice


def _period(store: Store, price: Json, after: int = 0) -> Json:
    start = after or store.now_s()
    end = datetime.fromtimestamp(start, UTC) + timedelta(days=_DAYS[price["recurring"]["interval"]])
    return {"current_period_start": start, "current_period_end": int(end.timestamp())}


@subscribing.on("GET /v1/events", "EventListParams")
def events(store: Store, asked: Json) -> Json:
    found = list(reversed(store.events))
    if asked.get("delivery_success") is False:
        found = [each for each in found if each["undelivered"]]
    return store.page("/v1/events", found, asked)
