"""What an operator may have set up wrongly at Stripe: where its news goes, and which."""

from typing import Final

from metergate_stripe.base import ALL, Base
from metergate_stripe.outcomes import ask

NEEDED: Final = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.refunded",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "refund.failed",
)
"""What nobody should have to ask for. All else that Stripe tells is welcome too."""
SECRET: Final = "whsec_"  # noqa: S105 - what a secret begins with


class Examining(Base):
    async def examine(self) -> list[str]:
        wrong: list[str] = []
        if not all(each.startswith(SECRET) for each in self.settings.webhook_secrets):
            wrong.append("Set STRIPE_WEBHOOK_SECRET to the signing secret of the endpoint: whsec_ and more.")
        url = self.context.webhook_url
        if not url or self.settings.account:  # those of a connected account are its platform's
            return wrong
        listed = await ask(self.api.webhook_endpoints.list_async({"limit": ALL}))
        ours = [each for each in listed.data if each.url == url and each.status == "enabled"]
        heard = {name for each in ours for name in each.enabled_events}
        missing = [] if "*" in heard else [name for name in NEEDED if name not in heard]
        if not ours:
            wrong.append(f"Add a webhook endpoint {url} at Stripe that hears {', '.join(NEEDED)}.")
        elif missing:
            wrong.append(f"Let the webhook endpoint {url} of Stripe hear {', '.join(missing)}, too.")
        return wrong
