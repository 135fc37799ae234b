"""Invoices: drafted, filled, final, paid or void."""

from collections.abc import Sequence

from tests.adapters.stripe.fake.errors import Refused
from tests.adapters.stripe.fake.paying import an_intent, confirmed
from tests.adapters.stripe.fake.server import Api
from tests.adapters.stripe.fake.store import Json, Store

invoicing = Api()


@invoicing.on("POST /v1/invoices", "InvoiceCreateParams")
def create(store: Store, asked: Json) -> Json:
    store.get("customer", asked["customer"])
    if asked.get("collection_method") == "send_invoice" and asked.get("due_date", 0) <= store.now_s():
        raise Refused(400, "The due date must be in the future.", param="due_date")
    return _draft(
        store,
        asked["customer"],
        asked["currency"],
        metadata=asked.get("metadata", {}),
        number=asked.get("number"),
        billing_reason="manual",
    )


@invoicing.on("GET /v1/invoices", "InvoiceListParams")
def listed(store: Store, asked: Json) -> Json:
    found = store.all("invoice")
    if "customer" in asked:
        found = [each for each in found if each["customer"] == asked["customer"]]
    if "subscription" in asked:
        found = [each for each in found if each["_subscription"] == asked["subscription"]]
    return store.page("/v1/invoices", found, asked)


@invoicing.on("GET /v1/invoices/{}", "InvoiceRetrieveParams")
def retrieve(store: Store, asked: Json, id: str) -> Json:
    return store.get("invoice", id)


@invoicing.on("POST /v1/invoices/{}/add_lines", "InvoiceAddLinesParams")
def add_lines(store: Store, asked: Json, id: str) -> Json:
    invoice = store.get("invoice", id)
    _must_be(invoice, "draft")
    _add(invoice, asked["lines"])
    return invoice


@invoicing.on("POST /v1/invoices/{}/finalize", "InvoiceFinalizeInvoiceParams")
def finalize(store: Store, asked: Json, id: str) -> Json:
    invoice = store.get("invoice", id)
    _must_be(invoice, "draft")
    _final(store, invoice)
    return invoice


@invoicing.on("POST /v1/invoices/{}/send", "InvoiceSendInvoiceParams")
def send(store: Store, asked: Json, id: str) -> Json:
    invoice = store.get("invoice", id)
    _must_be(invoice, "open")
    store.tell("invoice.sent", invoice)
    return invoice


@invoicing.on("POST /v1/invoices/{}/pay", "InvoicePayParams")
def pay(store: Store, asked: Json, id: str) -> Json:
    invoice = store.get("invoice", id)
    if invoice["status"] == "paid":
        raise Refused(400, "Invoice is already paid", "invoice_already_paid")
    _must_be(invoice, "open")
    method = asked.get("payment_method", "")
    if not method:
        raise Refused(400, "There is no default payment method set on this Customer.")
    attempt(store, invoice, method, off_session=True)
    intent = store.objects[invoice["_intent"]]
    if invoice["status"] != "paid":
        error = intent["last_payment_error"]
        asks = error["code"] == "authentication_required"
        code = "invoice_payment_intent_requires_action" if asks else error["code"]
        raise Refused(402, error["message"], code)
    return invoice


@invoicing.on("POST /v1/invoices/{}/void", "InvoiceVoidInvoiceParams")
def void(store: Store, asked: Json, id: str) -> Json:
    invoice = store.get("invoice", id)
    _must_be(invoice, "open")
    invoice["status"] = "void"
    store.tell("invoice.voided", invoice)
    return invoice


@invoicing.on("GET /v1/invoice_payments", "InvoicePaymentListParams")
def payments(store: Store, asked: Json) -> Json:
    return store.page("/v1/invoice_payments", store.of("invoice_payment", "invoice", asked["invoice"]), asked)


@invoicing.on("POST /invoice/{}")
def page(store: Store, asked: Json, id: str) -> Json:
    """The payer pays on the page of the invoice, with their bank beside them."""
    invoice = store.get("invoice", id)
    attempt(store, invoice, "pm_card_visa", off_session=False)
    for known in store.all("subscription"):
        if known["latest_invoice"] == id:
            known["status"] = "active"
            store.tell("customer.subscription.updated", known)
    return {"object": "page", "html": "<p>Thank you."}


def an_invoice(
    store: Store,
    customer: str,
    currency: str,
    lines: Sequence[Json],
    *,
    subscription: str,
    billing_reason: str,
) -> Json:
    """One that Stripe makes by itself."""
    made = _draft(
        store,
        customer,
        currency,
        metadata={},
        number=None,
        billing_reason=billing_reason,
        subscription=subscription,
    )
    _add(made, lines)
    _final(store, made)
    return made


def attempt(store: Store, invoice: Json, method: str, *, off_session: bool) -> None:
    """Try to pay; what the bank said stays on the invoice's payment."""
    intent = store.objects[invoice["_intent"]]
    try:
        confirmed(store, intent, method, off_session=off_session)
    except Refused:
        store.tell("invoice.payment_failed", invoice)
        return
    if intent["status"] != "succeeded":
        store.tell("invoice.payment_action_required", invoice)
        return
    invoice |= {"status": "paid", "amount_paid": invoice["total"]}
    store.of("invoice_payment", "invoice", invoice["id"])[0]["status"] = "paid"
    store.tell("invoice.payment_succeeded", invoice)


def _draft(
    store: Store,
    customer: str,
    currency: str,
    *,
    metadata: Json,
    number: str | None,
    billing_reason: str,
    subscription: str = "",
) -> Json:
    details = {"subscription": subscription, "metadata": {}} if subscription else None
    made = store.add(
        "in",
        "invoice",
        customer=customer,
        currency=currency,
        status="draft",
        number=number,
        metadata=metadata,
        billing_reason=billing_reason,
        total=0,
        amount_paid=0,
        lines={"object": "list", "data": [], "has_more": False, "url": "/v1/invoices/lines"},
        hosted_invoice_url=None,
        last_finalization_error=None,
        parent={"type": "subscription_details", "subscription_details": details} if subscription else None,
        _subscription=subscription,
        _intent="",
    )
    store.tell("invoice.created", made)
    return made


def _add(invoice: Json, lines: Sequence[Json]) -> None:
    for line in lines:
        number = len(invoice["lines"]["data"])
        invoice["lines"]["data"].append({"id": f"il_{invoice['id']}_{number}", "object": "line_item", **line})
        invoice["total"] += line["amount"]


def _final(store: Store, invoice: Json) -> None:
    intent = an_intent(store, invoice["total"], invoice["currency"], customer=invoice["customer"])
    invoice |= {
        "status": "open",
        "hosted_invoice_url": f"{store.url}/invoice/{invoice['id']}",
        "_intent": intent["id"],
    }
    store.add(
        "inpay",
        "invoice_payment",
        invoice=invoice["id"],
        status="open",
        payment={"type": "payment_intent", "payment_intent": intent["id"]},
    )
    store.tell("invoice.finalized", invoice)


def _must_be(invoice: Json, status: str) -> None:
    if invoice["status"] != status:
        raise Refused(400, f"This invoice is {invoice['status']}, not {status}.", "invoice_not_editable")
