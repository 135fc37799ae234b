"""The bodies of payments, refunds, webhooks and providers."""

from typing import Annotated, Any

from pydantic import Field

from metergate.api.models import AccountId, AmountText, Given, Money, Taken, Time

Return = Annotated[str, Field(description="An address of an origin that the operator has listed.")]


class NewCheckout(Taken):
    pack: str | None = None
    plan: str | None = None
    amount: AmountText | None = None
    currency: str | None = None
    provider: str | None = None
    token: Annotated[str, Field(description="On chains: which token, such as USDC.")] | None = None
    wallet: Annotated[str, Field(description="At PayPal: venmo, for who pays with Venmo.")] | None = None
    success_url: Return | None = None
    cancel_url: Return | None = None


class NewPayment(NewCheckout):
    account: AccountId
    id: str | None = None
    description: str | None = None
    method: Annotated[str, Field(description="A kept payment method to charge at once.")] | None = None
    capture: Annotated[bool, Field(description="false only authorises.")] | None = None


class PartOf(Taken):
    amount: AmountText | None = None


class NewClaim(Taken):
    transaction: str
    signature: str | None = None


class NewRefund(Taken):
    payment: str
    amount: AmountText | None = None
    id: str | None = None


class NewMethod(Taken):
    token: Annotated[str, Field(description="What the provider's own page or script made of a card.")]


class NewPortal(Taken):
    return_url: Return | None = None


class NewCustomer(Taken):
    account: AccountId
    provider: str
    customer: Annotated[str, Field(description="What the provider calls the account already.")]


class Replay(Taken):
    id: str | None = None
    provider: str | None = None
    state: Annotated[str, Field(description="dead, refused or ignored: all of them.")] | None = None


class Sync(Taken):
    provider: str | None = None


class PaidWith(Given):
    type: str
    brand: str
    last4: str


class Payment(Given):
    id: str
    account: str
    provider: str
    state: Annotated[str, Field(description="pending, succeeded, failed, canceled, refunded or disputed")]
    kind: str
    amount: Money
    paid: Money | None
    overpaid: Money | None = None
    credits: Money
    refunded: Money
    subject: str | None
    description: str
    method: PaidWith | None
    url: Annotated[str | None, Field(description="Where the payer pays, or goes on")]
    details: dict[str, Any]
    reason: Annotated[str | None, Field(description="Why it failed")]
    capturable: bool
    external_id: str | None
    created_at: Time | None
    updated_at: Time | None


class OperatorsPayment(Payment):
    mismatch: Annotated[str | None, Field(description="Why what the provider says is not believed")]


class Refund(Given):
    id: str
    payment: str
    state: str
    amount: Money
    credits: Money
    external_id: str | None
    created_at: Time | None


class RefundList(Given):
    data: list[Refund]


class Method(PaidWith):
    id: str


class MethodList(Given):
    data: list[Method]


class Forgotten(Given):
    id: str
    deleted: bool


class PortalPage(Given):
    url: str


class Customer(Given):
    account: str
    provider: str
    customer: str


class ProviderEvent(Given):
    id: str
    provider: str
    type: str
    state: Annotated[str, Field(description="waiting, done, ignored, refused or dead")]
    detail: str | None
    tries: int
    deliveries: int
    at: Time | None
    received_at: Time | None
    handled_at: Time | None


class Replayed(Given):
    replayed: int


class ProviderNews(Given):
    provider: str
    events: dict[str, int]
    lag_seconds: int
    forged: int
    last_at: Time | None


class NewsHealth(Given):
    state: Annotated[str, Field(description="ok or degraded")]
    data: list[ProviderNews]


class Provider(Given):
    name: str
    adapter: str
    mode: Annotated[str, Field(description="live or test")]
    state: str
    latency_us: int
    detail: str | None
    capabilities: list[str]


class ProviderList(Given):
    data: list[Provider]


class SyncedItem(Given):
    provider: str
    kind: str
    name: str
    id: str
    change: Annotated[str, Field(description="created, updated or unchanged")]


class SyncedList(Given):
    data: list[SyncedItem]


class Push(Given):
    id: Annotated[str, Field(description="The identifier that the provider gets")]
    provider: str
    account: str
    customer: str
    meter: str
    units: int
    since: Time
    until: Time
    revision: int
    repair: Annotated[bool, Field(description="It puts right what the provider counts, and is no usage")]
    state: Annotated[str, Field(description="pending, sent, accepted, parked, dropped or late")]
    detail: str | None
    tries: int
    created_at: Time
    updated_at: Time


class Reconcile(Taken):
    provider: str | None = None
    account: AccountId | None = None
    repair: Annotated[bool, Field(description="Put right what differs, once.")] | None = None


class Drift(Given):
    sentence: str
    provider: str
    account: str
    customer: str
    meter: str
    since: Time | None
    until: Time | None
    expected: int
    found: int
    advice: Annotated[str, Field(description="What to do")]


class Reconciled(Given):
    ok: bool
    differences: list[Drift]
    compared: Annotated[int, Field(description="Summaries that providers were asked for")]
    repaired: int
