"""Pages to pay on, and methods that are charged at once."""

from stripe import PaymentIntent, PaymentMethod
from stripe.params import PaymentIntentConfirmParams, PaymentIntentCreateParams
from stripe.params.checkout import SessionCreateParams, SessionCreateParamsLineItem

from metergate.errors import InvalidInput
from metergate.provider_port import (
    FAILED,
    PENDING,
    PLAN,
    Checkout,
    Declined,
    Misconfigured,
    NeedsAction,
    Order,
    PaymentFacts,
)
from metergate_stripe.base import id_of
from metergate_stripe.money import to_stripe
from metergate_stripe.outcomes import CONFIRM, CardDeclined, ask, maybe
from metergate_stripe.payments import WITH
from metergate_stripe.plans import Plans

STABLECOINS = "crypto"
"""What Stripe calls the method by which payers send USDC and the like, and we get dollars."""
COINS = ("USDC", "USDP", "USDG")


class Paying(Plans):
    async def open_checkout(self, order: Order) -> Checkout:
        asked = await self._plan_page(order) if order.kind == PLAN else self._page(order)
        opened = await ask(self.api.checkout.sessions.create_async(asked, self.once("order", order.id)))
        return Checkout(opened.id, opened.url or "", opened.expires_at * 10**6)

    async def charge(self, order: Order, method: str) -> PaymentFacts:
        if not order.customer:
            raise InvalidInput("Only a customer of Stripe has a payment method: make one first.")
        if order.kind == PLAN:
            return await self.begin_plan(order, method)
        kept = await maybe(self.api.payment_methods.retrieve_async(method))
        if kept is None or id_of(kept.customer) != order.customer:
            raise Declined("The customer keeps no such payment method: take another.")
        asked = self._charge(order, kept)
        try:
            intent = await ask(self.api.payment_intents.create_async(asked, self.once("order", order.id)))
        except CardDeclined as declined:
            if declined.code not in CONFIRM or not declined.intent:
                raise
            intent = await self._confirm(order, method, declined)
        facts = await self.facts_of(intent)
        if facts.state == FAILED:
            raise Declined(facts.reason)
        if facts.state == PENDING and facts.url:
            raise NeedsAction("Your bank wants you to confirm the payment.", facts.url)
        return facts

    def _page(self, order: Order) -> SessionCreateParams:
        asked = self._any_page(order)
        intent = asked["payment_intent_data"] = {"metadata": self.marks(order)}
        if order.description:
            intent["description"] = order.description
        if not order.capture:
            intent["capture_method"] = "manual"
        if order.customer:  # a box that the payer may tick
            asked["saved_payment_method_options"] = {"payment_method_save": "enabled"}
        asked["mode"] = "payment"
        asked["line_items"] = [_line(order)]
        return asked

    async def _plan_page(self, order: Order) -> SessionCreateParams:
        asked = self._any_page(order)
        asked["mode"] = "subscription"
        asked["line_items"] = await self.plan_lines(order)
        asked["subscription_data"] = {"metadata": self.plan_marks(order)}
        return asked

    def _any_page(self, order: Order) -> SessionCreateParams:
        """What an order says, and nothing of the moment: asked again it has to be the same."""
        asked: SessionCreateParams = {
            "client_reference_id": order.id,
            "metadata": self.marks(order),
            # What is paid is what we asked for, in our currency.
            "adaptive_pricing": {"enabled": False},
        }
        if order.customer:
            asked["customer"] = order.customer
        elif order.payer.email:
            asked["customer_email"] = order.payer.email
        back = self._back(order)
        if not back:
            raise Misconfigured(
                "Set STRIPE_RETURN_URL, FRONTEND_URL or METERGATE_PUBLIC_URL, or give success_url: Stripe "
                "opens no page without an address that payers come back to."
            )
        asked["success_url"] = back
        if order.cancel_url:
            asked["cancel_url"] = order.cancel_url
        if order.expires_at_us:
            asked["expires_at"] = order.expires_at_us // 10**6
        methods = self._methods(order)
        if methods:
            asked["allowed_payment_method_types"] = methods
        return asked

    def _methods(self, order: Order) -> list[str]:
        token = order.options.get("token", "")
        if not token:
            return list(self.settings.methods)
        if token.upper() not in COINS or order.amount.currency != "USD" or order.kind == PLAN:
            raise InvalidInput(f"At Stripe, pay an amount in USD with one of {', '.join(COINS)}.")
        return [STABLECOINS]

    def _charge(self, order: Order, method: PaymentMethod) -> PaymentIntentCreateParams:
        asked: PaymentIntentCreateParams = {
            "amount": to_stripe(order.amount),
            "currency": order.amount.currency.lower(),
            "customer": order.customer,
            "payment_method": method.id,
            "allowed_payment_method_types": [method.type],
            "confirm": True,
            "off_session": True,
            "metadata": {**self.marks(order), self.named("charged"): "yes"},
            "capture_method": "automatic" if order.capture else "manual",
            "expand": WITH,
        }
        if order.description:
            asked["description"] = order.description
        if self._back(order):
            asked["return_url"] = self._back(order)
        return asked

    def _back(self, order: Order) -> str:
        return order.success_url or self.settings.back

    async def _confirm(self, order: Order, method: str, declined: CardDeclined) -> PaymentIntent:
        """The same payment once more, with its payer there: Stripe says on which page of the bank.

        Asked again by its key it says what it said then, so the payment is looked at as it is now.
        """
        back = self._back(order)
        if not back:
            raise NeedsAction(f"{declined} Pay on a page instead, where the bank can ask.")
        asked: PaymentIntentConfirmParams = {"payment_method": method, "return_url": back}
        confirmed = self.api.payment_intents.confirm_async(
            declined.intent, asked, self.once("confirm", order.id)
        )
        await ask(confirmed)
        return await ask(self.api.payment_intents.retrieve_async(declined.intent, {"expand": WITH}))


def _line(order: Order) -> SessionCreateParamsLineItem:
    return {
        "quantity": 1,
        "price_data": {
            "currency": order.amount.currency.lower(),
            "unit_amount": to_stripe(order.amount),
            "product_data": {"name": order.description[:250] or "Credits"},
        },
    }
