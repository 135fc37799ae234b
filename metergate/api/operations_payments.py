"""The endpoints of money in, for operators and for customers."""

from metergate.api import models_payments as models
from metergate.api.endpoints import LIST, Endpoint
from metergate.api.models import Page

PAYMENTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/payments",
        "payments.create",
        models.OperatorsPayment,
        "Have an account pay, with a kept method or on a page",
        models.NewPayment,
        status=201,
        idempotent=True,
    ),
    Endpoint(
        "GET",
        "/payments",
        "payments.list",
        Page[models.OperatorsPayment],
        "Payments",
        query=("account", *LIST),
    ),
    Endpoint("GET", "/payments/{id}", "payments.show", models.OperatorsPayment, "One payment"),
    Endpoint(
        "POST",
        "/payments/{id}/verify",
        "payments.verify",
        models.OperatorsPayment,
        "Ask the provider what has become of a payment",
    ),
    Endpoint(
        "POST",
        "/payments/{id}/capture",
        "payments.capture",
        models.OperatorsPayment,
        "Take what was authorised, or a part of it",
        models.PartOf,
        optional_body=True,
    ),
    Endpoint(
        "POST", "/payments/{id}/cancel", "payments.cancel", models.OperatorsPayment, "Give up a payment"
    ),
    Endpoint(
        "POST",
        "/refunds",
        "refunds.create",
        models.Refund,
        "Give a payment back, all of it or a part",
        models.NewRefund,
        status=201,
        idempotent=True,
    ),
    Endpoint(
        "GET", "/payments/{payment}/refunds", "refunds.list", models.RefundList, "What went back of a payment"
    ),
    Endpoint(
        "POST",
        "/customers",
        "customers.import",
        models.Customer,
        "Take a customer that a provider has already",
        models.NewCustomer,
        status=201,
    ),
    Endpoint(
        "GET",
        "/webhooks",
        "webhooks.list",
        Page[models.ProviderEvent],
        "What providers told us",
        query=("provider", "state", *LIST),
    ),
    Endpoint(
        "POST",
        "/webhooks/replay",
        "webhooks.replay",
        models.Replayed,
        "Handle news once more",
        models.Replay,
    ),
    Endpoint("GET", "/webhooks/health", "webhooks.health", models.NewsHealth, "How the news is going"),
    Endpoint(
        "GET",
        "/pushes",
        "pushes.list",
        Page[models.Push],
        "Usage totals that providers are told of",
        query=("provider", "account", "state", *LIST),
    ),
    Endpoint(
        "POST",
        "/reconcile",
        "reconcile",
        models.Reconciled,
        "Whether ledger, intents and providers say the same of usage",
        models.Reconcile,
        optional_body=True,
    ),
    Endpoint("GET", "/providers", "providers.list", models.ProviderList, "Providers and what they can do"),
    Endpoint(
        "POST",
        "/providers/sync",
        "providers.sync",
        models.SyncedList,
        "List meters, plans and packs at the providers",
        models.Sync,
        optional_body=True,
    ),
)
"""The operator's side."""

OWN_PAYMENTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/checkout",
        "checkout.create",
        models.Payment,
        "Buy a pack, a plan or an amount of credits",
        models.NewCheckout,
        status=201,
        idempotent=True,
    ),
    Endpoint("GET", "/payments", "payments.list", Page[models.Payment], "Own payments", query=LIST),
    Endpoint("GET", "/payments/{id}", "payments.show", models.Payment, "One payment, as it is now"),
    Endpoint(
        "POST",
        "/payments/{id}/capture",
        "payments.capture",
        models.Payment,
        "Take what was authorised",
        models.PartOf,
        optional_body=True,
    ),
    Endpoint(
        "POST",
        "/payments/{id}/claim",
        "payments.claim",
        models.Payment,
        "Say which transaction pays it",
        models.NewClaim,
    ),
    Endpoint("GET", "/payment-methods", "methods.list", models.MethodList, "What is kept to pay with"),
    Endpoint(
        "POST",
        "/payment-methods",
        "methods.attach",
        models.Method,
        "Keep a payment method",
        models.NewMethod,
        status=201,
    ),
    Endpoint("DELETE", "/payment-methods/{id}", "methods.detach", models.Forgotten, "Forget one"),
    Endpoint(
        "POST",
        "/portal",
        "customers.portal",
        models.PortalPage,
        "A page of the provider for methods and invoices",
        models.NewPortal,
        optional_body=True,
    ),
)
"""The customer's side."""
