"""Every endpoint of both APIs, as tables."""

from metergate.api import models, models_proof
from metergate.api.endpoints import LIST, Endpoint
from metergate.api.models import Page
from metergate.api.operations_guards import GUARDS, OWN_GUARDS
from metergate.api.operations_notices import NOTICES
from metergate.api.operations_payments import OWN_PAYMENTS, PAYMENTS

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/accounts",
        "accounts.create",
        models.Account,
        "Open an account",
        models.NewAccount,
        status=201,
    ),
    Endpoint("GET", "/accounts", "accounts.list", Page[models.Account], "List accounts", query=LIST),
    Endpoint("GET", "/accounts/{id}", "accounts.show", models.Account, "One account"),
    Endpoint(
        "PATCH",
        "/accounts/{id}",
        "accounts.update",
        models.Account,
        "Change an account",
        models.AccountChange,
    ),
    Endpoint(
        "GET", "/accounts/{account}/credits", "credits.show", models.Credits, "Balance, holds and grants"
    ),
    Endpoint("POST", "/keys", "keys.create", models.MintedKey, "Make a key", models.NewKey, status=201),
    Endpoint("GET", "/keys", "keys.list", Page[models.Key], "List keys", query=("account", *LIST)),
    Endpoint("GET", "/keys/{kid}", "keys.show", models.Key, "One key"),
    Endpoint(
        "POST",
        "/keys/{kid}/rotate",
        "keys.rotate",
        models.RotatedKey,
        "Make a key in the place of another",
        models.Rotation,
        status=201,
        optional_body=True,
    ),
    Endpoint("POST", "/keys/{kid}/revoke", "keys.revoke", models.Key, "End a key at once"),
    Endpoint("DELETE", "/keys/{kid}", "keys.revoke", models.Key, "End a key at once"),
    Endpoint(
        "POST",
        "/grants",
        "credits.grant",
        models.Grant,
        "Give credits",
        models.NewGrant,
        status=201,
        idempotent=True,
    ),
    Endpoint(
        "POST",
        "/adjustments",
        "credits.adjust",
        models.Adjustment,
        "Correct what an account can spend",
        models.NewAdjustment,
        status=201,
        idempotent=True,
    ),
    Endpoint("GET", "/grants", "grants.list", Page[models.Grant], "List grants", query=("account", *LIST)),
    Endpoint(
        "POST",
        "/subscriptions",
        "subscriptions.assign",
        models.Subscription,
        "Put an account on a plan",
        models.NewSubscription,
    ),
    Endpoint(
        "GET",
        "/subscriptions",
        "subscriptions.list",
        Page[models.Subscription],
        "Who is on which plan",
        query=LIST,
    ),
    Endpoint(
        "GET", "/subscriptions/{account}", "subscriptions.show", models.Subscription, "One account's plan"
    ),
    Endpoint("GET", "/plans", "plans.list", models.Plans, "Plans and packs of the policy"),
    Endpoint("GET", "/plans/{id}", "plans.show", models.Plan, "One plan"),
    Endpoint(
        "GET",
        "/usage",
        "usage.list",
        Page[models.Usage],
        "List usage",
        query=("account", "since", "until", *LIST),
    ),
    Endpoint(
        "GET",
        "/usage/totals",
        "usage.totals",
        models.Totals,
        "Usage of a period by meter",
        query=("account", "since", "until"),
    ),
    Endpoint("GET", "/usage/{id}", "usage.show", models.RequestUsage, "What one request was charged for"),
    Endpoint(
        "POST",
        "/usage",
        "usage.record",
        models.Recorded,
        "Report usage, one row or a batch",
        models.NewUsage,
        status=201,
        idempotent=True,
    ),
    Endpoint("POST", "/usage/retry", "usage.retry", models_proof.Retried, "Post what was set aside"),
    Endpoint(
        "GET",
        "/ledger",
        "ledger.list",
        Page[models.Transaction],
        "Transactions with their entries",
        query=("account", *LIST),
    ),
    Endpoint("GET", "/ledger/head", "ledger.head", models_proof.Head, "The newest link of the chain"),
    Endpoint("POST", "/ledger/derive", "ledger.derive", models_proof.Derived, "Make what is derived anew"),
    Endpoint(
        "GET",
        "/verify",
        "verify",
        models_proof.Verified,
        "Derive every balance again",
        query=("head", "step"),
    ),
    *PAYMENTS,
    *NOTICES,
    *GUARDS,
    Endpoint("GET", "/events", "audit.list", Page[models.Event], "Who did what", query=("subject", *LIST)),
    Endpoint("GET", "/policy", "policy.show", models.PolicySummary, "The running policy in short"),
    Endpoint("POST", "/policy/reload", "policy.reload", models.ReloadedPolicy, "Read the policy file anew"),
    Endpoint("GET", "/health", "health", models.Health, "Store, ledger and worker"),
)
"""The operator's side."""

OWN: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/usage",
        "usage.list",
        Page[models.Usage],
        "Own usage",
        query=("since", "until", *LIST),
    ),
    Endpoint(
        "POST",
        "/usage",
        "usage.track",
        models.Recorded,
        "Count usage at the policy's price, if it fits",
        models.TrackedUsage,
        status=201,
        idempotent=True,
    ),
    Endpoint("GET", "/usage/{id}", "usage.show", models.RequestUsage, "What one request was charged for"),
    Endpoint("GET", "/credits", "credits.show", models.Credits, "Balance, holds and grants"),
    Endpoint("GET", "/plans", "plans.list", models.Plans, "Plans and packs"),
    Endpoint("GET", "/subscription", "subscription.show", models.OwnSubscription, "Own plan"),
    *OWN_PAYMENTS,
    *OWN_GUARDS,
)
"""The customer's side."""
