"""Products, prices and meters."""

from tests.adapters.stripe.fake.errors import Refused
from tests.adapters.stripe.fake.server import Api
from tests.adapters.stripe.fake.store import Json, Store

selling = Api()


@selling.on("POST /v1/products", "ProductCreateParams")
def create_product(store: Store, asked: Json) -> Json:
    if asked.get("id") in store.objects:
        raise Refused(400, "Product already exists.", "resource_already_exists", param="id")
    id = asked.get("id", "")
    return store.add(
        "prod", "product", id=id, name=asked["name"], active=True, metadata=asked.get("metadata", {})
    )


@selling.on("GET /v1/products/{}", "ProductRetrieveParams")
def product(store: Store, asked: Json, id: str) -> Json:
    return store.get("product", id)


@selling.on("POST /v1/products/{}", "ProductUpdateParams")
def update_product(store: Store, asked: Json, id: str) -> Json:
    known = store.get("product", id)
    known |= asked
    return known


@selling.on("POST /v1/prices", "PriceCreateParams")
def create_price(store: Store, asked: Json) -> Json:
    store.get("product", asked["product"])
    recurring = asked.get("recurring")
    if recurring is not None:
        recurring = {"usage_type": "licensed", "meter": None, "interval_count": 1, **recurring}
        if recurring["meter"]:
            store.get("billing.meter", recurring["meter"])
    exact = asked.get("unit_amount_decimal", asked.get("unit_amount"))
    if exact is None or not asked.get("currency"):
        raise Refused(400, "Missing required param: unit_amount.", "parameter_missing")
    if len(f"{exact:f}".partition(".")[2]) > 12:
        raise Refused(400, "Invalid decimal: at most 12 decimal places.", "parameter_invalid")
    return _keyed(
        store,
        store.add(
            "price",
            "price",
            active=True,
            currency=asked["currency"],
            unit_amount=asked.get("unit_amount"),
            unit_amount_decimal=f"{exact:f}",
            product=asked["product"],
            recurring=recurring,
            metadata=asked.get("metadata", {}),
            lookup_key=None,
        ),
        asked,
    )


@selling.on("GET /v1/prices", "PriceListParams")
def prices(store: Store, asked: Json) -> Json:
    found = store.of("price", "product", asked["product"]) if "product" in asked else store.all("price")
    keys = asked.get("lookup_keys")
    if keys is not None and len(keys) > 10:
        raise Refused(400, "You may only specify up to 10 of these keys.", "parameter_invalid")
    found = [each for each in found if keys is None or each["lookup_key"] in keys]
    found = [each for each in found if "active" not in asked or each["active"] == asked["active"]]
    return store.page("/v1/prices", found, asked)


@selling.on("POST /v1/prices/{}", "PriceUpdateParams")
def update_price(store: Store, asked: Json, id: str) -> Json:
    known = store.get("price", id)
    known["active"] = asked.get("active", known["active"])
    return _keyed(store, known, asked)


@selling.on("POST /v1/billing/meters", "billing.MeterCreateParams")
def create_meter(store: Store, asked: Json) -> Json:
    if any(each["event_name"] == asked["event_name"] for each in active_meters(store)):
        raise Refused(400, "An active meter with this event name exists already.", "resource_already_exists")
    mapping = {"type": "by_id", "event_payload_key": "stripe_customer_id"}
    nothing = {"event_time_window": None, "customer_mapping": mapping}
    values = {"value_settings": {"event_payload_key": "value"}, "status": "active"}
    return store.add("mtr", "billing.meter", **{**nothing, **values, **asked})


@selling.on("GET /v1/billing/meters", "billing.MeterListParams")
def meters(store: Store, asked: Json) -> Json:
    found = store.all("billing.meter")
    found = [each for each in found if asked.get("status") in (None, each["status"])]
    return store.page("/v1/billing/meters", found, asked)


@selling.on("POST /v1/billing/meters/{}", "billing.MeterUpdateParams")
def update_meter(store: Store, asked: Json, id: str) -> Json:
    known = store.get("billing.meter", id)
    known |= asked
    return known


@selling.on("POST /v1/billing/meters/{}/reactivate")
def reactivate(store: Store, asked: Json, id: str) -> Json:
    known = store.get("billing.meter", id)
    known["status"] = "active"
    return known


def active_meters(store: Store) -> list[Json]:
    return [each for each in store.all("billing.meter") if each["status"] == "active"]


def _keyed(store: Store, price: Json, asked: Json) -> Json:
    """A lookup key is of one active price; another takes it only when it says so."""
    key = asked.get("lookup_key")
    if key is None:
        return price
    for other in store.all("price"):
        if other["lookup_key"] == key and other is not price:
            if not asked.get("transfer_lookup_key"):
                raise Refused(400, f"A price ({other['id']}) already uses that lookup key.")
            other["lookup_key"] = None
    price["lookup_key"] = key
    return price
