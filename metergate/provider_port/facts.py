"""What a provider and we tell each other: orders, and how payments, subscriptions and invoices are now."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

# What a payment is. Refunds and disputes are facts beside it: see `PaymentFacts`.
PENDING = "pending"  # the payer, the bank or the chain has not said the last word
SUCCEEDED = "succeeded"  # the money is ours; an authorised payment is not, before it is captured
FAILED = "failed"
CANCELED = "canceled"

# What a refund or a dispute is; a refund is PENDING, SUCCEEDED or FAILED.
OPEN, WON, LOST = "open", "won", "lost"

# What an order is for.
CREDITS, PLAN, INVOICE = "credits", "plan", "invoice"

# What an event is about.
PAYMENT, SUBSCRIPTION, CUSTOMER, USAGE, OTHER = "payment", "subscription", "customer", "usage", "other"


class Money(NamedTuple):
    """An amount in the currency's smallest unit: 19.99 USD is 1999, 500 JPY is 500."""

    minor: int
    currency: str
    """ISO 4217, in capitals, whatever the provider writes."""


class Payer(NamedTuple):
    """An account, as far as a provider may know it."""

    account: str
    email: str = ""
    name: str = ""


class CustomerFacts(NamedTuple):
    id: str
    account: str
    """Ours, as the provider has it; empty where it knows none."""
    email: str = ""
    name: str = ""


class Order(NamedTuple):
    """What somebody is to pay for. Its id is the provider's idempotency key, and goes into its metadata.

    An id of ours has at most 128 characters; where a provider takes fewer, send a digest as its key.
    """

    id: str
    payer: Payer
    amount: Money
    kind: str = CREDITS
    description: str = ""
    customer: str = ""
    """The provider's id of the payer, where it has customers."""
    plan: str = ""
    every: str = ""
    """The plan's period: day, week, month or year."""
    success_url: str = ""
    cancel_url: str = ""
    expires_at_us: int = 0
    """When a checkout of it closes; 0 leaves that to the provider."""
    capture: bool = True
    """Whether the money moves at once; otherwise it is only authorised, until it is captured."""
    options: Mapping[str, str] = {}
    """What only this kind of provider understands, such as the token of a chain."""


class Checkout(NamedTuple):
    """Where a payer pays."""

    id: str
    """Under which `fetch_payment` finds the payment, or will."""
    url: str
    expires_at_us: int = 0
    details: Mapping[str, str] = {}
    """What a payer has to know where there is no page, such as the address and the exact amount."""


class Method(NamedTuple):
    """A way to pay that the provider keeps for a customer."""

    id: str
    type: str
    brand: str = ""
    last4: str = ""
    fingerprint: str = ""
    """The same for the same card or bank account, whoever uses it; empty where the provider tells none."""


class RefundFacts(NamedTuple):
    id: str
    amount: Money
    state: str
    refund: str = ""
    """Our id of it, as the provider has it; empty when it was made elsewhere."""
    turn: int = 0
    """Grows with what happens to it, so that late news is known as late; 0 where a time has to do."""


class DisputeFacts(NamedTuple):
    id: str
    amount: Money
    state: str
    turn: int = 0
    """As of a refund: a dispute can be lost, won after all, and lost again."""


class PaymentFacts(NamedTuple):
    """A payment as it is now."""

    id: str
    """The same by whichever name it was asked for; a checkout may have another."""
    order: str
    """Ours, as the provider has it; empty where it knows none."""
    state: str
    amount: Money
    """What was really paid, or is to be paid while nothing is."""
    live: bool
    customer: str = ""
    method: Method | None = None
    url: str = ""
    """Where the payer can go on."""
    reason: str = ""
    """Why it failed, as the provider says it to people."""
    capturable: bool = False
    """Whether it is authorised and waits to be captured."""
    refunds: tuple[RefundFacts, ...] = ()
    disputes: tuple[DisputeFacts, ...] = ()
    approved: bool = False
    """Whether the payer has agreed, and `complete_payment` makes a payment of it: nothing is ours before."""
    keeps_excess: bool = False
    """Whether what is more than was asked for becomes credits, too: nobody can send it back."""


class SubscriptionFacts(NamedTuple):
    id: str
    order: str
    customer: str
    plan: str
    """Ours, as the provider has it."""
    state: str
    """trialing, active, past_due, unpaid, canceled, incomplete or paused."""
    live: bool
    period_start_us: int
    period_end_us: int
    ends: bool = False
    """Whether it ends with the period."""


class InvoiceLine(NamedTuple):
    description: str
    amount: Money


class InvoiceDraft(NamedTuple):
    id: str
    payer: Payer
    customer: str
    number: str
    lines: tuple[InvoiceLine, ...]
    due_at_us: int
    send: bool = False
    """Whether the provider tells the payer."""


class InvoiceFacts(NamedTuple):
    id: str
    invoice: str
    """Ours, as the provider has it; empty for one that the provider made by itself, for a subscription."""
    state: str
    """draft, open, paid, void or uncollectible."""
    amount: Money
    paid: Money
    live: bool
    customer: str = ""
    url: str = ""
    """Its hosted page."""
    subscription: str = ""
    reason: str = ""
    """Why the last attempt to pay it failed, or what the payer has to do."""


class UsageTotal(NamedTuple):
    """What a customer used of a meter in a window. A correction is the difference, as one more total."""

    identifier: str
    """Made from what it counts, at most 100 characters, never from the attempt to send it."""
    customer: str
    meter: str
    units: int
    at_us: int
    """Inside the window, not now."""


# What becomes of a usage total.
ACCEPTED = "accepted"  # also when the provider had this identifier already
REJECTED = "rejected"  # it will never be taken as it is
UNKNOWN = "unknown"  # nobody knows; the same identifier may be sent again while `forgets_us` has not passed
LATER = "later"  # surely not taken, such as 429 or a refused connection; it may be sent again at any time


class Pushed(NamedTuple):
    status: str
    detail: str = ""
    after_s: float = 0
    """With LATER: how long the provider wants to be left alone."""


class Complaint(NamedTuple):
    """A usage total that was accepted, and that the provider could not count after all."""

    identifier: str
    detail: str


class Item(NamedTuple):
    """Something of the policy that a provider lists: a meter, a plan or a pack."""

    kind: str
    """meter, plan or pack."""
    name: str
    """Ours; the provider's object carries it, so that the next sync finds it."""
    title: str
    price: Money | None = None
    every: str = ""
    unit_price: str = ""
    """Of a meter: decimal text in `currency`, for `per` units."""
    per: int = 1
    currency: str = ""


class Synced(NamedTuple):
    kind: str
    name: str
    id: str
    change: str
    """created, updated or unchanged."""


class ProviderEvent(NamedTuple):
    """News of a provider: a hint to ask how something is now, and never the truth of money by itself."""

    id: str
    """Unique at the provider, and the same in every delivery."""
    type: str
    """As the provider calls it."""
    kind: str
    object: str
    """The provider's id of what it is about. News of a refund or a dispute is about its payment."""
    live: bool
    at_us: int = 0
    order: str = ""
    """Our id, where the news names it."""
    payment: PaymentFacts | None = None
    """Only from a provider that cannot be asked for a payment: what this news says of it.

    It may be a part: PENDING where nothing is said of whether it is paid, an empty id where only our order is
    named, and of the refunds and disputes the one that the news is about. The ledger puts the parts together.
    """
    objection: str = ""
    """Why nothing follows from it although it is proven, such as that it is of another merchant's account."""


class EventPage(NamedTuple):
    events: Sequence[ProviderEvent]
    cursor: str
    more: bool = False


class ProviderHealth(NamedTuple):
    ok: bool
    detail: str = ""
