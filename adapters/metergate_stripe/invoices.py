"""Invoices of ours that Stripe shows and collects."""

from typing import Final

from stripe import Invoice, InvoicePayment, ListObject, PaymentIntent
from stripe.params import InvoiceAddLinesParamsLine, InvoiceCreateParams

from metergate.provider_port import Declined, InvoiceDraft, InvoiceFacts, Misconfigured, NeedsAction
from metergate_stripe.base import ALL, Base, id_of, said
from metergate_stripe.money import from_stripe, to_stripe
from metergate_stripe.outcomes import CONFIRM, CardDeclined, ask, every, maybe

WITH: Final = ["payments.data.payment.payment_intent"]


class Invoices(Base):
    async def create_invoice(self, draft: InvoiceDraft) -> InvoiceFacts:
        """Three steps, each of which is found done where somebody died behind it."""
        made = await self._drafted(draft) or await self._make(draft)
        if made.status == "draft" and not made.lines.data:
            added = self.api.invoices.add_lines_async(
                made.id,
                {"lines": [_line(draft, number) for number in range(len(draft.lines))]},
                self.once("lines", draft.id),
            )
            made = await ask(added)
        if made.status == "draft":
            final = self.api.invoices.finalize_invoice_async(made.id, {}, self.once("final", draft.id))
            made = await ask(final)
            if draft.send:
                made = await ask(
                    self.api.invoices.send_invoice_async(made.id, {}, self.once("send", draft.id))
                )
        return self._invoice(made)

    async def fetch_invoice(self, id: str) -> InvoiceFacts | None:
        known = await maybe(self.api.invoices.retrieve_async(id, {"expand": WITH}))
        return None if known is None else self._invoice(known)

    async def pay_invoice(self, id: str, method: str) -> InvoiceFacts:
        """An invoice is paid once by itself, so each attempt is one of its own."""
        known = await self._there(id)
        if known.state == "paid":
            return known
        try:
            await ask(self.api.invoices.pay_async(id, {"payment_method": method} if method else {}))
        except CardDeclined as declined:
            if declined.code in CONFIRM:
                raise NeedsAction("Your bank wants you to confirm the payment.", known.url) from declined
            raise Declined(str(declined)) from declined
        return await self._there(id)

    async def void_invoice(self, id: str) -> InvoiceFacts:
        known = await self._there(id)
        if known.state == "void":
            return known
        return self._invoice(await ask(self.api.invoices.void_invoice_async(id)))

    async def _drafted(self, draft: InvoiceDraft) -> Invoice | None:
        listed = await ask(self.api.invoices.list_async({"customer": draft.customer, "limit": ALL}))
        async for each in every(listed):
            if self.mark(each.metadata, "invoice") == draft.id:
                return each
        return None

    async def _make(self, draft: InvoiceDraft) -> Invoice:
        asked: InvoiceCreateParams = {
            "customer": draft.customer,
            "currency": draft.lines[0].amount.currency.lower(),
            "collection_method": "send_invoice",
            "due_date": draft.due_at_us // 10**6,
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {self.named("invoice"): draft.id, self.named("account"): draft.payer.account},
        }
        if draft.number:
            asked["number"] = draft.number
        return await ask(self.api.invoices.create_async(asked, self.once("invoice", draft.id)))

    async def _there(self, id: str) -> InvoiceFacts:
        found = await self.fetch_invoice(id)
        if found is None:
            raise Misconfigured(f"Stripe has no invoice {id:.80}.")
        return found

    def _invoice(self, known: Invoice) -> InvoiceFacts:
        of_plan = known.parent.subscription_details if known.parent is not None else None
        return InvoiceFacts(
            id=known.id,
            invoice=self.mark(known.metadata, "invoice"),
            state=known.status or "draft",
            amount=from_stripe(known.total, known.currency),
            paid=from_stripe(known.amount_paid, known.currency),
            live=known.livemode,
            customer=id_of(known.customer),
            url=known.hosted_invoice_url or "",
            subscription=id_of(of_plan.subscription) if of_plan is not None else "",
            reason=_why(known),
        )


def _line(draft: InvoiceDraft, number: int) -> InvoiceAddLinesParamsLine:
    line = draft.lines[number]
    return {"description": line.description, "amount": to_stripe(line.amount)}


def _why(known: Invoice) -> str:
    """Why nobody has paid it yet, as far as Stripe says so."""
    if known.status == "paid":
        return ""
    if known.last_finalization_error is not None:
        return said(known.last_finalization_error, "message")
    tried: ListObject[InvoicePayment] | None = getattr(known, "payments", None)  # only there when asked for
    for each in tried.data if tried is not None else ():
        intent: PaymentIntent | str | None = getattr(each.payment, "payment_intent", None)
        if intent is None or isinstance(intent, str):
            continue
        if intent.status == "requires_action":
            return "The payer has to confirm the payment."
        if intent.last_payment_error is not None:
            return said(intent.last_payment_error, "message")
    return ""
