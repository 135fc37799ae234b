"""What a provider can do, as small protocols in the order of a payment's life."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from metergate.provider_port.facts import (
    Checkout,
    Complaint,
    CustomerFacts,
    EventPage,
    InvoiceDraft,
    InvoiceFacts,
    Item,
    Method,
    Money,
    Order,
    Payer,
    PaymentFacts,
    ProviderEvent,
    ProviderHealth,
    Pushed,
    RefundFacts,
    SubscriptionFacts,
    Synced,
    UsageTotal,
)


class Provider(Protocol):
    """What every adapter is."""

    @property
    def live(self) -> bool:
        """Whether it moves real money; what is of the other mode is never believed."""

    async def health(self) -> ProviderHealth:
        """Ask the provider whether it knows us. Raises nothing."""

    async def close(self) -> None: ...


@runtime_checkable
class Customers(Protocol):
    async def create_customer(self, payer: Payer) -> CustomerFacts:
        """Once per account."""

    async def fetch_customer(self, id: str) -> CustomerFacts | None: ...


@runtime_checkable
class Checkouts(Protocol):
    async def open_checkout(self, order: Order) -> Checkout:
        """A hosted page, or what stands in its place. An order of another kind may need more capabilities."""


@runtime_checkable
class Charges(Protocol):
    async def charge(self, order: Order, method: str) -> PaymentFacts:
        """Pay at once with a method that the provider keeps for the customer.

        Declined or NeedsAction where that does not work; a decline of an order is repeated by its id.
        """


@runtime_checkable
class Lookups(Protocol):
    async def fetch_payment(self, id: str) -> PaymentFacts | None:
        """By the id of a checkout, of a payment, or of what news called it."""

    async def find_payment(self, order: str) -> PaymentFacts | None:
        """By our id, also when no answer to it ever came. None only where the provider surely has none."""


@runtime_checkable
class Approvals(Protocol):
    async def complete_payment(self, id: str) -> PaymentFacts:
        """Do what the payer has approved: take the money, or authorise it where the order says so.

        Once, however often it is asked for, and only by the words of the order. Declined where the payer has
        to approve another way to pay.
        """


@runtime_checkable
class Captures(Protocol):
    async def capture_payment(self, id: str, amount: Money | None, capture: str) -> PaymentFacts:
        """Take what was authorised, or a part of it and leave the rest."""

    async def cancel_payment(self, id: str) -> PaymentFacts:
        """Give up what was authorised, or close what nobody has paid yet."""


@runtime_checkable
class Refunds(Protocol):
    async def refund_payment(self, id: str, amount: Money, refund: str) -> RefundFacts: ...


@runtime_checkable
class Methods(Protocol):
    async def list_methods(self, customer: str) -> Sequence[Method]: ...

    async def attach_method(self, customer: str, token: str) -> Method:
        """`token` is what the provider's own page or script made of a card: no card number comes here."""

    async def detach_method(self, customer: str, method: str) -> None: ...


@runtime_checkable
class Portal(Protocol):
    async def portal_url(self, customer: str, return_url: str) -> str: ...


@runtime_checkable
class Claims(Protocol):
    async def claim_payment(self, order: str, transaction: str, signature: str) -> PaymentFacts:
        """A payer says that a transaction pays an order. InvalidInput where it does not."""


@runtime_checkable
class Subscriptions(Protocol):
    """They begin with a checkout, or a charge, of kind PLAN."""

    async def fetch_subscription(self, id: str) -> SubscriptionFacts | None: ...

    async def cancel_subscription(self, id: str, *, at_period_end: bool) -> SubscriptionFacts: ...


@runtime_checkable
class Invoices(Protocol):
    async def create_invoice(self, draft: InvoiceDraft) -> InvoiceFacts:
        """Final as soon as it is made."""

    async def fetch_invoice(self, id: str) -> InvoiceFacts | None: ...

    async def pay_invoice(self, id: str, method: str) -> InvoiceFacts:
        """With this method, or the customer's default where it is empty."""

    async def void_invoice(self, id: str) -> InvoiceFacts: ...


@runtime_checkable
class UsageSink(Protocol):
    @property
    def forgets_us(self) -> int:
        """How long an identifier is surely remembered, in microseconds."""

    @property
    def oldest_us(self) -> int:
        """How old usage may be when it is sent, in microseconds."""

    @property
    def lags_us(self) -> int:
        """How long after it was accepted usage may be missing in summaries, in microseconds."""

    async def counted_meters(self, meters: Sequence[str]) -> Collection[str]:
        """Which of these meters the provider has. Of others it is told nothing."""

    async def push_usage(self, totals: Sequence[UsageTotal]) -> Sequence[Pushed]:
        """One answer per total; never raises for one of them. One customer and meter come once in a call."""

    async def usage_summary(self, customer: str, meter: str, start_us: int, end_us: int) -> int:
        """What the provider has counted in the half-open window, which begins and ends with a minute."""


@runtime_checkable
class Complains(Protocol):
    """A usage sink that looks at what it accepted only later."""

    async def usage_complaints(self, event: str) -> Sequence[Complaint]:
        """What news of the kind USAGE says of single totals; `event` is its id."""


@runtime_checkable
class Catalogue(Protocol):
    async def sync_catalogue(self, items: Sequence[Item]) -> Sequence[Synced]:
        """Create what is missing and change what differs; again it finds everything unchanged."""


@runtime_checkable
class Webhooks(Protocol):
    async def read_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[ProviderEvent]:
        """Prove the raw bytes, then read them. Header names come in small letters. Forged where need be."""


@runtime_checkable
class Feed(Protocol):
    """News that we fetch: of a chain, or what a provider could not deliver."""

    async def events_after(self, cursor: str) -> EventPage:
        """The cursor is empty at first. It is kept in one transaction with the events."""


@runtime_checkable
class Picky(Protocol):
    def objection(self, amount: Money) -> str:
        """Why the provider would not take this amount or currency, as a sentence; empty when it would."""


@runtime_checkable
class Examined(Protocol):
    async def examine(self) -> Sequence[str]:
        """What is not as it should be, a sentence each: secrets of an odd form, and at the provider a webhook
        endpoint that is missing or hears too little. For `metergate doctor`; it changes nothing.
        """


CAPABILITIES: Mapping[str, type] = {
    "customers": Customers,
    "checkouts": Checkouts,
    "charges": Charges,
    "lookups": Lookups,
    "approvals": Approvals,
    "captures": Captures,
    "refunds": Refunds,
    "methods": Methods,
    "portal": Portal,
    "claims": Claims,
    "subscriptions": Subscriptions,
    "invoices": Invoices,
    "usage": UsageSink,
    "catalogue": Catalogue,
    "webhooks": Webhooks,
    "feed": Feed,
}


def capabilities(provider: object) -> tuple[str, ...]:
    """What a provider can do, read off what its adapter implements."""
    return tuple([name for name, protocol in CAPABILITIES.items() if isinstance(provider, protocol)])
