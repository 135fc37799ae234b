"""The paths of older systems, and what they are called here."""

from collections.abc import Mapping
from typing import Final

STRIPE: Final = ("/api/v1/webhooks/stripe", "/api/webhook/stripe")
OLDER: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("GET", "/api/usage"): ("GET", "/usage"),
    ("POST", "/api/usage/track"): ("POST", "/usage"),
    ("POST", "/api/checkout/create"): ("POST", "/checkout"),
    ("GET", "/api/credits/balance"): ("GET", "/credits"),
    ("GET", "/api/v1/webhooks/health"): ("GET", "/webhooks/health"),
}
BILLING: Final = "/api/v1/billing"
"""Everything of the customer's side is found under this path as well."""


def of_billing(prefix: str, *, compat: bool) -> tuple[bytes, ...]:
    """How the paths begin that are the customer's side, and not the app's."""
    if not prefix:
        return ()
    older = [*STRIPE, *[path for _, path in OLDER], f"{BILLING}/"] if compat else []
    return tuple([path.encode() for path in (f"{prefix}/v1/", *older)])
