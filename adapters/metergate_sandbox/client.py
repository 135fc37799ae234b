"""The adapter: what metergate asks of a payment provider, asked of the sandbox over HTTP."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from metergate.core.money import EXPONENTS
from metergate.errors import ProviderError
from metergate.provider_port import (
    ACCEPTED,
    FAILED,
    LATER,
    REJECTED,
    UNKNOWN,
    Checkout,
    Complaint,
    Context,
    CustomerFacts,
    Declined,
    Forged,
    InvoiceDraft,
    InvoiceFacts,
    Item,
    Method,
    Misconfigured,
    Money,
    NeedsAction,
    Order,
    Payer,
    PaymentFacts,
    ProviderEvent,
    ProviderHealth,
    Pushed,
    RefundFacts,
    SubscriptionFacts,
    Synced,
    TryAgain,
    UnknownOutcome,
    UsageTotal,
)
from metergate_sandbox.news import proven
from metergate_sandbox.server import Server
from metergate_sandbox.shapes import from_json, to_json
from metergate_sandbox.usage import FORGETS_US, OLDEST_US

T = TypeVar("T")
_BY_STATUS: Final[Mapping[int, type[ProviderError]]] = {
    401: Misconfigured,
    500: UnknownOutcome,
}


class SandboxProvider:
    """Every capability but a portal, claims and a feed."""

    live = False
    forgets_us = FORGETS_US
    oldest_us = OLDEST_US
    lags_us = 0

    def __init__(
        self, context: Context, base: str, key: str, secrets: Sequence[str], own: Server | None
    ) -> None:
        self._context = context
        self._base = base
        self._key = key
        self._secrets = secrets
        self._own = own
        self._starting = asyncio.Lock()

    async def health(self) -> ProviderHealth:
        try:
            await self._ask("health")
        except (ProviderError, OSError) as error:  # such as a port that another has
            return ProviderHealth(ok=False, detail=str(error))
        return ProviderHealth(ok=True, detail=f"test mode, at {self._base}")

    async def close(self) -> None:
        if self._own is not None:
            await self._own.close()

    def objection(self, amount: Money) -> str:
        if amount.currency not in EXPONENTS:
            return f"The sandbox does not know the currency {amount.currency}."
        return "" if amount.minor > 0 else "Pay an amount above zero."

    async def create_customer(self, payer: Payer) -> CustomerFacts:
        return from_json(CustomerFacts, await self._ask("customers/create", **to_json(payer)))

    async def fetch_customer(self, id: str) -> CustomerFacts | None:
        return self._maybe(CustomerFacts, await self._ask("customers/fetch", id=id))

    async def open_checkout(self, order: Order) -> Checkout:
        opened = await self._ask("payments/open", order=to_json(order), notify=self._context.webhook_url)
        payment = from_json(PaymentFacts, opened)
        return Checkout(payment.id, payment.url, order.expires_at_us)

    async def charge(self, order: Order, method: str) -> PaymentFacts:
        notify = self._context.webhook_url
        asked = await self._ask("payments/charge", order=to_json(order), method=method, notify=notify)
        payment = from_json(PaymentFacts, asked)
        if payment.state == FAILED:
            raise Declined(payment.reason)
        if payment.state == "pending" and not payment.capturable:
            raise NeedsAction("Your bank wants you to confirm the payment.", payment.url)
        return payment

    async def fetch_payment(self, id: str) -> PaymentFacts | None:
        return self._maybe(PaymentFacts, await self._ask("payments/fetch", id=id))

    async def find_payment(self, order: str) -> PaymentFacts | None:
        return self._maybe(PaymentFacts, await self._ask("payments/find", order=order))

    async def capture_payment(self, id: str, amount: Money | None, capture: str) -> PaymentFacts:
        asked = await self._ask("payments/capture", id=id, amount=to_json(amount))
        return from_json(PaymentFacts, asked)

    async def cancel_payment(self, id: str) -> PaymentFacts:
        return from_json(PaymentFacts, await self._ask("payments/cancel", id=id))

    async def refund_payment(self, id: str, amount: Money, refund: str) -> RefundFacts:
        asked = await self._ask("payments/refund", id=id, amount=to_json(amount), refund=refund)
        return from_json(RefundFacts, asked)

    async def list_methods(self, customer: str) -> Sequence[Method]:
        return [from_json(Method, each) for each in await self._ask("methods/list", customer=customer)]

    async def attach_method(self, customer: str, token: str) -> Method:
        return from_json(Method, await self._ask("methods/attach", customer=customer, token=token))

    async def detach_method(self, customer: str, method: str) -> None:
        await self._ask("methods/detach", customer=customer, method=method)

    async def fetch_subscription(self, id: str) -> SubscriptionFacts | None:
        return self._maybe(SubscriptionFacts, await self._ask("subscriptions/fetch", id=id))

    async def cancel_subscription(self, id: str, *, at_period_end: bool) -> SubscriptionFacts:
        asked = await self._ask("subscriptions/cancel", id=id, at_period_end=at_period_end)
        return from_json(SubscriptionFacts, asked)

    async def create_invoice(self, draft: InvoiceDraft) -> InvoiceFacts:
        notify = self._context.webhook_url
        return from_json(
            InvoiceFacts, await self._ask("invoices/create", draft=to_json(draft), notify=notify)
        )

    async def fetch_invoice(self, id: str) -> InvoiceFacts | None:
        return self._maybe(InvoiceFacts, await self._ask("invoices/fetch", id=id))

    async def pay_invoice(self, id: str, method: str) -> InvoiceFacts:
        found = from_json(InvoiceFacts, await self._ask("invoices/pay", id=id, method=method))
        if found.state != "paid":
            raise Declined("The payment method was declined.")
        return found

    async def void_invoice(self, id: str) -> InvoiceFacts:
        return from_json(InvoiceFacts, await self._ask("invoices/void", id=id))

    async def counted_meters(self, meters: Sequence[str]) -> Sequence[str]:
        return meters

    async def push_usage(self, totals: Sequence[UsageTotal]) -> Sequence[Pushed]:
        try:
            refused = await self._ask("usage/push", totals=to_json(totals), notify=self._context.webhook_url)
        except UnknownOutcome as error:
            return [Pushed(UNKNOWN, str(error)) for _ in totals]
        except ProviderError as error:
            return [Pushed(LATER, str(error)) for _ in totals]
        return [Pushed(REJECTED, each) if each else Pushed(ACCEPTED) for each in refused]

    async def usage_complaints(self, event: str) -> Sequence[Complaint]:
        return [from_json(Complaint, each) for each in await self._ask("usage/complaints", event=event)]

    async def usage_summary(self, customer: str, meter: str, start_us: int, end_us: int) -> int:
        window = {"start_us": start_us, "end_us": end_us}
        return int(await self._ask("usage/summary", customer=customer, meter=meter, **window))

    async def sync_catalogue(self, items: Sequence[Item]) -> Sequence[Synced]:
        return [from_json(Synced, each) for each in await self._ask("catalogue/sync", items=to_json(items))]

    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[ProviderEvent]:
        try:
            return [proven(headers, body, self._secrets, self._context.clock())]
        except (ValueError, TypeError, AttributeError) as error:
            raise Forged("What was signed is no event of the sandbox.") from error

    async def _ask(self, call: str, **asked: Any) -> Any:
        await self._started()
        answer = await self._context.http(
            "POST",
            f"{self._base}/v1/{call}",
            headers={"authorization": f"Bearer {self._key}", "content-type": "application/json"},
            body=json.dumps(asked).encode(),
        )
        told = json.loads(answer.body)
        if answer.status == 200:
            return told
        if answer.status == 429:
            raise TryAgain(f"The sandbox says: {told['message']}", answer.after_s)
        raise _BY_STATUS.get(answer.status, Misconfigured)(f"The sandbox says: {told['message']}")

    async def _started(self) -> None:
        """A sandbox of our own begins to listen when somebody wants something of it."""
        async with self._starting:
            if self._own is not None and not self._own.url:
                await self._own.start(int(self._context.setting("SANDBOX_PORT", "0")))
                self._base = self._own.url

    def _maybe(self, kind: type[T], told: Any) -> T | None:
        return None if told is None else from_json(kind, told)
