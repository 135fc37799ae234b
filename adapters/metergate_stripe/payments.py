"""Payments as they are now: asked for by any name, captured, given up and given back."""

from collections.abc import AsyncIterator
from typing import Final

from stripe import Dispute, ListObject, PaymentIntent, Refund
from stripe.checkout import Session
from stripe.params import PaymentIntentCaptureParams

from metergate.provider_port import (
    CANCELED,
    FAILED,
    LOST,
    OPEN,
    PENDING,
    SUCCEEDED,
    WON,
    DisputeFacts,
    Misconfigured,
    Money,
    PaymentFacts,
    RefundFacts,
)
from metergate_stripe.base import ALL, LAG_S, Base, id_of, said
from metergate_stripe.keeping import method_of
from metergate_stripe.money import from_stripe, to_stripe
from metergate_stripe.outcomes import CONFIRM, ask, every, maybe

WITH: Final = ["latest_charge.refunds", "payment_method"]
"""What is read together with a payment."""
_REFUND: Final = {"succeeded": SUCCEEDED, "failed": FAILED, "canceled": FAILED}
_DISPUTE: Final = {"won": WON, "warning_closed": WON, "prevented": WON, "lost": LOST}


class Payments(Base):
    async def fetch_payment(self, id: str) -> PaymentFacts | None:
        if id.startswith("cs_"):
            session = await maybe(self.api.checkout.sessions.retrieve_async(id))
            return None if session is None else await self._facts_of_session(session)
        if id.startswith(("ch_", "py_")):
            charge = await maybe(self.api.charges.retrieve_async(id))
            id = id_of(charge.payment_intent) if charge is not None else ""
        if not id.startswith("pi_"):
            return None
        intent = await maybe(self.api.payment_intents.retrieve_async(id, {"expand": WITH}))
        if intent is None:
            return None
        unpaid = intent.status == "requires_payment_method"
        page = await self._page_of(id) if unpaid and not self.mark(intent.metadata, "charged") else None
        return await self.facts_of(intent) if page is None else await self._facts_of_session(page)

    async def find_payment(self, order: str) -> PaymentFacts | None:
        """None also for an old page whose address we never got: nobody pays there, and it closes."""
        since = self.now_s() - LAG_S
        intents = self.api.payment_intents.list_async({"created": {"gte": since}, "limit": ALL})
        async for intent in every(await ask(intents)):
            if self.mark(intent.metadata, "order") == order:
                return await self.fetch_payment(intent.id)
        sessions = self.api.checkout.sessions.list_async({"created": {"gte": since}, "limit": ALL})
        async for session in every(await ask(sessions)):
            if self.mark(session.metadata, "order") == order:
                return await self._facts_of_session(session)
        found = await ask(self.api.payment_intents.search_async({"query": self.where("order", order)}))
        return await self.fetch_payment(found.data[0].id) if found.data else None

    async def capture_payment(self, id: str, amount: Money | None, capture: str) -> PaymentFacts:
        asked: PaymentIntentCaptureParams = {"expand": WITH}
        if amount is not None:
            asked["amount_to_capture"] = to_stripe(amount)
        intent = await self._intent(id)
        return await self.facts_of(
            await ask(self.api.payment_intents.capture_async(intent, asked, self.once("capture", capture)))
        )

    async def cancel_payment(self, id: str) -> PaymentFacts:
        """A page closes as a whole; a payment without one is given up by itself."""
        before = await self._known(id)
        if before.state != PENDING:
            return before
        page = None if id.startswith("cs_") else await self._page_of(id)
        name = page.id if page is not None else id
        if name.startswith("cs_") and not before.capturable:
            await ask(self.api.checkout.sessions.expire_async(name))
        else:
            await ask(self.api.payment_intents.cancel_async(before.id))
        return await self._known(name)

    async def refund_payment(self, id: str, amount: Money, refund: str) -> RefundFacts:
        made = self.api.refunds.create_async(
            {
                "payment_intent": await self._intent(id),
                "amount": to_stripe(amount),
                "metadata": {self.named("refund"): refund},
            },
            self.once("refund", refund),
        )
        return self._refund(await ask(made))

    # -- what Stripe has, in the port's words --------------------------------------------------------------

    async def facts_of(self, intent: PaymentIntent, order: str = "", url: str = "") -> PaymentFacts:
        state = self._state(intent)
        paid = state == SUCCEEDED
        error = intent.last_payment_error
        method = intent.payment_method
        return PaymentFacts(
            id=intent.id,
            order=self.mark(intent.metadata, "order") or order,
            state=state,
            amount=from_stripe(intent.amount_received if paid else intent.amount, intent.currency),
            live=intent.livemode,
            customer=id_of(intent.customer),
            method=method_of(method) if method is not None and not isinstance(method, str) else None,
            url=_page_of_the_bank(intent) or url,
            reason="" if paid else said(error, "message") or said(error, "code"),
            capturable=intent.status == "requires_capture",
            refunds=tuple([self._refund(each) async for each in self._refunds(intent)]) if paid else (),
            disputes=tuple([_dispute(each) async for each in self._disputes(intent)]) if paid else (),
        )

    async def _facts_of_session(self, session: Session) -> PaymentFacts:
        order = self.mark(session.metadata, "order")
        open_at = (session.url or "") if session.status == "open" else ""
        intent = id_of(session.payment_intent) or await self.intent_of_invoice(id_of(session.invoice))
        if intent:
            found = await ask(self.api.payment_intents.retrieve_async(intent, {"expand": WITH}))
            facts = await self.facts_of(found, order, open_at)
            if found.status == "requires_payment_method" and session.status != "open":
                # Nobody can try once more: the page is closed, or was left with a promise which broke.
                facts = facts._replace(state=CANCELED if session.status == "expired" else FAILED)
            return facts
        paid = session.status == "complete" and session.payment_status in ("paid", "no_payment_required")
        ended = CANCELED if session.status == "expired" else PENDING
        return PaymentFacts(
            id=session.id,
            order=order,
            state=SUCCEEDED if paid else ended,
            amount=from_stripe(session.amount_total or 0, session.currency or ""),
            live=session.livemode,
            customer=id_of(session.customer),
            url=open_at,
        )

    async def intent_of_invoice(self, invoice: str) -> str:
        """The payment that pays, or is to pay, an invoice."""
        if not invoice:
            return ""
        paid = await ask(self.api.invoice_payments.list_async({"invoice": invoice, "limit": ALL}))
        ids = {each.status: said(each.payment, "payment_intent") for each in paid.data}
        return ids.get("paid") or ids.get("open") or ""

    def _state(self, intent: PaymentIntent) -> str:
        if intent.status == "succeeded":
            return SUCCEEDED
        if intent.status == "canceled":
            return CANCELED
        error = intent.last_payment_error
        refused = error is not None and said(error, "code") not in CONFIRM
        # On a page the payer may try another card; what we charged ourselves has failed.
        tried = intent.status == "requires_payment_method" and self.mark(intent.metadata, "charged")
        return FAILED if tried and refused else PENDING

    async def _refunds(self, intent: PaymentIntent) -> AsyncIterator[Refund]:
        """All of them; those that are read with the payment are the last ten."""
        known: ListObject[Refund] | None = getattr(intent.latest_charge, "refunds", None)  # where asked for
        if known is None or known.has_more:
            known = await ask(self.api.refunds.list_async({"payment_intent": intent.id, "limit": ALL}))
        async for refund in every(known):
            yield refund

    async def _disputes(self, intent: PaymentIntent) -> AsyncIterator[Dispute]:
        charge = intent.latest_charge
        if charge is None or isinstance(charge, str) or charge.disputed:
            listed = self.api.disputes.list_async({"payment_intent": intent.id, "limit": ALL})
            async for dispute in every(await ask(listed)):
                yield dispute

    def _refund(self, made: Refund) -> RefundFacts:
        state = _REFUND.get(made.status or "", PENDING)
        ours = self.mark(made.metadata, "refund")
        return RefundFacts(made.id, from_stripe(made.amount, made.currency), state, ours)

    async def _known(self, id: str) -> PaymentFacts:
        found = await self.fetch_payment(id)
        if found is None:
            raise Misconfigured(f"Stripe has no payment {id:.80}.")
        return found

    async def _intent(self, id: str) -> str:
        """The payment itself, also where its page is named."""
        return id if id.startswith("pi_") else (await self._known(id)).id

    async def _page_of(self, intent: str) -> Session | None:
        listed = await ask(self.api.checkout.sessions.list_async({"payment_intent": intent}))
        return listed.data[0] if listed.data else None


def _dispute(made: Dispute) -> DisputeFacts:
    return DisputeFacts(made.id, from_stripe(made.amount, made.currency), _DISPUTE.get(made.status, OPEN))


def _page_of_the_bank(intent: PaymentIntent) -> str:
    asked = intent.next_action
    there = getattr(asked, "redirect_to_url", None) if asked is not None else None
    return there.url or "" if there is not None else ""
