"""Customers, what they pay with, the portal, and who we are."""

from tests.adapters.stripe.fake.errors import Refused, missing
from tests.adapters.stripe.fake.server import Api
from tests.adapters.stripe.fake.store import Json, Store

people = Api()
people.lists("/v1/customers", "customer", "Customer")

TOKENS = {
    "pm_card_visa": ("visa", "4242", "pays"),
    "pm_card_mastercard": ("mastercard", "4444", "pays"),
    "pm_card_chargeCustomerFail": ("visa", "0341", "declines"),
    "pm_card_authenticationRequired": ("visa", "3184", "asks"),
}
"""Stripe's own names for test cards, and how their banks behave."""


@people.on("GET /v1/account")
def account(store: Store, asked: Json) -> Json:
    return {"id": "acct_fake", "object": "account"}


@people.on("GET /v1/webhook_endpoints", "WebhookEndpointListParams")
def endpoints(store: Store, asked: Json) -> Json:
    return store.page("/v1/webhook_endpoints", store.all("webhook_endpoint"), asked)


@people.on("POST /v1/customers", "CustomerCreateParams")
def create(store: Store, asked: Json) -> Json:
    made = store.add(
        "cus",
        "customer",
        email=asked.get("email"),
        name=asked.get("name"),
        metadata=asked.get("metadata", {}),
    )
    store.tell("customer.created", made)
    return made


@people.on("GET /v1/customers/{}/payment_methods", "CustomerPaymentMethodListParams")
def methods(store: Store, asked: Json, id: str) -> Json:
    return store.page(
        f"/v1/customers/{id}/payment_methods", store.of("payment_method", "customer", id), asked
    )


@people.on("GET /v1/payment_methods/{}")
def method(store: Store, asked: Json, id: str) -> Json:
    return a_method(store, id)


@people.on("POST /v1/payment_methods/{}/attach", "PaymentMethodAttachParams")
def attach(store: Store, asked: Json, id: str) -> Json:
    """A token of a test card becomes a method of its own for each customer."""
    token = a_method(store, id)
    if token.get("customer"):
        raise Refused(400, "The payment method you provided has already been attached to a customer.")
    store.get("customer", asked["customer"])
    kept = {name: token[name] for name in ("type", "card", "_bank")}
    made = store.add("pm", "payment_method", customer=asked["customer"], metadata={}, **kept)
    store.tell("payment_method.attached", made)
    return made


@people.on("POST /v1/payment_methods/{}/detach")
def detach(store: Store, asked: Json, id: str) -> Json:
    known = store.get("payment_method", id)
    known["customer"] = None
    return known


@people.on("POST /v1/billing_portal/sessions", "billing_portal.SessionCreateParams")
def portal(store: Store, asked: Json) -> Json:
    store.get("customer", asked["customer"])
    return store.add("bps", "billing_portal.session", url=f"{store.url}/portal/{asked['customer']}", **asked)


def a_method(store: Store, id: str) -> Json:
    if id in TOKENS:
        brand, last4, bank = TOKENS[id]
        card = {"brand": brand, "last4": last4}
        fields = {"type": "card", "card": card, "_bank": bank, "customer": None}
        return {
            "id": id,
            "object": "payment_method",
            "created": 0,
            "livemode": False,
            "metadata": {},
            **fields,
        }
    if id not in store.objects:
        raise missing("PaymentMethod", id)
    return store.get("payment_method", id)
