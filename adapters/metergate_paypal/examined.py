"""What an operator may have set up wrongly at PayPal: the webhook by whose id news is proven."""

from collections.abc import Sequence
from typing import Final

from metergate_paypal.calls import Calls, Refused

WEBHOOKS: Final = "/v1/notifications/webhooks/"
NEEDED: Final = (
    "CHECKOUT.ORDER.APPROVED",
    "CUSTOMER.DISPUTE.CREATED",
    "CUSTOMER.DISPUTE.RESOLVED",
    "PAYMENT.CAPTURE.COMPLETED",
    "PAYMENT.CAPTURE.DENIED",
    "PAYMENT.CAPTURE.REFUNDED",
    "PAYMENT.CAPTURE.REVERSED",
)
"""What nobody should have to ask for. All else that PayPal tells is welcome too."""


async def examined(calls: Calls, ids: Sequence[str], url: str) -> list[str]:
    """Of several ids one is on its way out, and may be gone already."""
    found = [known for id in ids if (known := await _webhook(calls, id)) is not None]
    if not found:
        return ["Set PAYPAL_WEBHOOK_ID to the id of a webhook of this app: PayPal knows no such webhook."]
    ours = [events for at, events in found if at == url]
    if not url:
        return []
    if not ours:
        return [f"Have the webhook of PAYPAL_WEBHOOK_ID lead to {url}, not to {found[0][0]:.200}."]
    heard = {name for events in ours for name in events}
    missing = [] if "*" in heard else [name for name in NEEDED if name not in heard]
    return [f"Let the webhook {url} of PayPal hear {', '.join(missing)}, too."] if missing else []


async def _webhook(calls: Calls, id: str) -> tuple[str, Sequence[str]] | None:
    try:
        told = await calls.get(WEBHOOKS + id)
    except Refused as refused:
        if refused.status in (400, 404):
            return None
        raise
    return str(told.get("url", "")), [str(each.get("name", "")) for each in told.get("event_types") or ()]
