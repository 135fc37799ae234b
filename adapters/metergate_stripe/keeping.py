"""Customers, what they pay with, and Stripe's page on which they look after themselves."""

from collections.abc import Sequence

from stripe import Customer, PaymentMethod
from stripe.params import CustomerCreateParams

from metergate.errors import InvalidInput
from metergate.provider_port import CustomerFacts, Method, Misconfigured, Payer, UnknownOutcome
from metergate_stripe.base import ALL, LAG_S, Base, id_of
from metergate_stripe.outcomes import ask, every, maybe


class Keeping(Base):
    async def create_customer(self, payer: Payer) -> CustomerFacts:
        """Its search is minutes behind, and a request's key is known for a day: together that is exact."""
        known = await self._customer_of(payer.account)
        if known is not None:
            return self._customer(known)
        asked: CustomerCreateParams = {"metadata": {self.named("account"): payer.account}}
        if payer.email:
            asked["email"] = payer.email
        if payer.name:
            asked["name"] = payer.name
        try:
            made = await ask(self.api.customers.create_async(asked, self.once("customer", payer.account)))
        except UnknownOutcome:
            found = await self._recent_customer_of(payer.account)
            if found is None:
                raise
            made = found
        return self._customer(made)

    async def fetch_customer(self, id: str) -> CustomerFacts | None:
        found = await maybe(self.api.customers.retrieve_async(id))
        return None if found is None or getattr(found, "deleted", False) else self._customer(found)

    async def list_methods(self, customer: str) -> Sequence[Method]:
        listed = await ask(self.api.customers.payment_methods.list_async(customer, {"limit": ALL}))
        return [method_of(each) async for each in every(listed)]

    async def attach_method(self, customer: str, token: str) -> Method:
        known = await maybe(self.api.payment_methods.retrieve_async(token))
        if known is None or id_of(known.customer) not in ("", customer):
            raise InvalidInput(
                "Stripe has no such payment method for this customer: make one with Stripe.js."
            )
        if not id_of(known.customer):
            known = await ask(self.api.payment_methods.attach_async(token, {"customer": customer}))
        return method_of(known)

    async def detach_method(self, customer: str, method: str) -> None:
        await maybe(self.api.payment_methods.detach_async(method))

    async def portal_url(self, customer: str, return_url: str) -> str:
        back = return_url or self.settings.back
        opened = self.api.billing_portal.sessions.create_async(
            {"customer": customer, "return_url": back} if back else {"customer": customer}
        )
        return (await ask(opened)).url

    async def _recent_customer_of(self, account: str) -> Customer | None:
        """One that was made without an answer, or in other words a moment ago."""
        since = self.now_s() - LAG_S
        listed = self.api.customers.list_async({"created": {"gte": since}, "limit": ALL})
        async for each in every(await ask(listed)):
            if self.mark(each.metadata, "account") == account:
                return each
        return None

    async def _customer_of(self, account: str) -> Customer | None:
        """None also where Stripe has no search, as in India: a second customer after a day harms nobody."""
        try:
            found = await ask(self.api.customers.search_async({"query": self.where("account", account)}))
        except Misconfigured:
            return None
        return found.data[0] if found.data else None

    def _customer(self, known: Customer) -> CustomerFacts:
        account = self.mark(known.metadata, "account")
        return CustomerFacts(known.id, account, known.email or "", known.name or "")


def method_of(known: PaymentMethod) -> Method:
    """The kinds of methods have their details under their own name, and not all have these."""
    details = getattr(known, known.type, None)
    brand = getattr(details, "brand", None) or getattr(details, "bank_name", None) or ""
    last4, fingerprint = getattr(details, "last4", None), getattr(details, "fingerprint", None)
    return Method(known.id, known.type, brand, last4 or "", fingerprint or "")
