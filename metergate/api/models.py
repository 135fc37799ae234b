"""The bodies that the APIs take and give. Bodies that are taken are strict: no guessing, no unknown fields.

What a field may hold is judged by the office, for every way in; a model only says which fields there are and
of which JSON type.
"""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

AmountText = Annotated[str, Field(description="A decimal string, never a number.", examples=["5.00"])]
TimeText = Annotated[str, Field(description="RFC 3339, or how long from now: 30d.", examples=["30d"])]
AccountId = Annotated[str, Field(description="1 to 64 letters, digits, _ . @ or -", examples=["acct_1"])]
Units = Annotated[int | str, Field(description="A whole number from 0 to 2^53 - 1, or its digits.")]
Time = Annotated[str, Field(description="RFC 3339 in UTC.", examples=["2026-01-01T00:00:00Z"])]


class Taken(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class NewAccount(Taken):
    id: AccountId
    plan: str | None = None
    name: str | None = None
    email: str | None = None
    currency: str | None = None
    metadata: dict[str, Any] | None = None


class AccountChange(Taken):
    name: str | None = None
    email: str | None = None
    metadata: dict[str, Any] | None = None
    suspended: bool | None = None
    plan: str | None = None


class NewKey(Taken):
    account: AccountId
    expires_at: TimeText | None = None
    scopes: list[str] | None = None
    environment: Annotated[str, Field(description="live or test; left out: the policy's.")] | None = None
    cap: Annotated[str, Field(description="The most that the key may spend in a period.")] | None = None
    cap_every: str | None = None
    networks: Annotated[list[str], Field(description="Where it may come from.")] | None = None


class Rotation(Taken):
    grace: (
        Annotated[str, Field(description="How long the old key still works: 24h, at most 7d, or 0.")] | None
    ) = None


class NewGrant(Taken):
    account: AccountId
    amount: AmountText
    expires_at: TimeText | None = None
    promotional: bool | None = None
    id: Annotated[str, Field(description="A grant is given once per id.")] | None = None
    memo: str | None = None
    promotion: Annotated[str, Field(description="Once per person.")] | None = None


class NewAdjustment(Taken):
    account: AccountId
    amount: Annotated[str, Field(description="A decimal string; below zero takes away.", examples=["-1.50"])]
    reason: Annotated[str, Field(description="Why, for whoever reads the books later.")]
    id: Annotated[str, Field(description="A correction is made once per id.")] | None = None


class NewSubscription(Taken):
    account: AccountId
    plan: str


class NewUsage(Taken):
    """Usage that a backend reports for its users."""

    account: AccountId
    meter: str
    units: Units
    service: str | None = None
    cost: Annotated[str, Field(description="A cost that you know.", examples=["0.01"])] | None = None
    at: Time | None = None
    dimensions: dict[str, str] | None = None
    idempotency_key: str | None = None


class UsageBatch(Taken):
    data: Annotated[list[NewUsage], Field(min_length=1, max_length=1000)]


class TrackedUsage(Taken):
    """Usage that a customer reports."""

    meter: str
    units: Units
    at: Time | None = None
    dimensions: dict[str, str] | None = None


HoldId = Annotated[str, Field(description="As `POST /authz/v1/hold` gave it.", examples=["hold_…"])]


class NewHold(Taken):
    """A call that somebody else is about to serve."""

    key: Annotated[str, Field(description="The customer's API key.")] | None = None
    method: Annotated[str, Field(examples=["POST"])]
    path: Annotated[str, Field(description="As it is forwarded, with its query.", examples=["/v1/images"])]
    units: Units | None = None
    ttl: Annotated[int | str, Field(description="Seconds, or a duration: 90s, 10m, at most 24h.")] | None = (
        None
    )


class Settlement(Taken):
    hold: HoldId
    units: Units | None = None


class Release(Taken):
    hold: HoldId


class Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Money(Given):
    currency: str
    amount: str
    nanos: int


class Hold(Given):
    hold: Annotated[str | None, Field(description="Ends it; null where nothing is held.")]
    request_id: str
    account: str | None
    key: str | None
    plan: str | None
    route: str | None
    meter: str | None
    units: int
    cost: Annotated[Money, Field(description="What is held.")]
    balance: Money | None
    expires_at: Time | None


class EndedHold(Given):
    state: Annotated[str, Field(description="settled or released")]
    request_id: str
    account: str
    key: str | None
    meter: str
    units: int
    cost: Money


class Page(Given, Generic[T]):
    data: list[T]
    has_more: bool
    after: str | None


class Account(Given):
    id: str
    plan: str | None
    plan_since: Time | None
    name: str
    email: str
    currency: str
    metadata: dict[str, Any]
    suspended: bool
    created_at: Time


class Cap(Money):
    every: str


class Key(Given):
    kid: str
    account: str
    environment: str
    scopes: list[str]
    networks: Annotated[list[str], Field(description="Where it may come from; none is everywhere.")]
    last4: str
    state: Annotated[str, Field(description="active, expired or revoked")]
    expires_at: Time | None
    revoked_at: Time | None
    replaced_by: str | None
    cap: Cap | None
    created_at: Time
    last_used_at: Annotated[Time | None, Field(description="When it was last metered, to the minute or so.")]


class MintedKey(Key):
    key: Annotated[str, Field(description="The key itself. It is shown this once and kept nowhere.")]


class RotatedKey(MintedKey):
    replaces: Key


class Grant(Given):
    id: str
    account: str
    amount: Money
    remaining: Money
    state: Annotated[str, Field(description="active, used or expired")]
    promotional: bool
    priority: int
    expires_at: Time | None
    memo: str
    created_at: Time


class Adjustment(Given):
    id: str
    account: str
    amount: Money
    reason: str
    transaction: str
    balance: Money


class Credits(Given):
    account: str
    balance: Money
    held: Money
    grants: list[Grant]


class Subscription(Given):
    account: str
    plan: str | None
    since: Time | None


class Plan(Given):
    id: str
    name: str
    price: Cap | None
    contact: str | None
    features: list[str]
    included: dict[str, dict[str, Any]]
    on_exceed: str
    overage: dict[str, list[dict[str, Any]]]
    prices: dict[str, list[dict[str, Any]]]
    limits: list[dict[str, Any]]
    caps: list[dict[str, Any]]
    concurrency: list[dict[str, Any]]
    trial: dict[str, Any] | None
    default: bool


class Plans(Page[Plan]):
    packs: list[dict[str, Any]]


class OwnSubscription(Subscription):
    details: Plan | None


class Usage(Given):
    id: str
    request_id: str
    account: str
    key: str | None
    service: str
    route: str
    path: str
    meter: str
    units: int
    dimensions: dict[str, str]
    cost: Money
    measured: str
    plan: str | None
    policy: str
    at: Time


class RequestUsage(Usage):
    also: Annotated[list[Usage], Field(description="What else the same request was charged for.")]


class Recorded(Given):
    request_id: str
    account: str
    meter: str
    units: int
    cost: Money
    balance: Money | None
    replayed: bool


class RecordedBatch(Given):
    recorded: int
    failed: int
    data: list[Recorded | dict[str, Any]]


class Total(Given):
    meter: str
    calls: int
    units: int
    cost: Money


class Totals(Given):
    account: str | None
    data: list[Total]


class Entry(Given):
    book: str
    account: str
    grant: str | None
    amount: Money


class Transaction(Given):
    id: str
    kind: str
    account: str
    at: Time
    entries: list[Entry]


class Event(Given):
    id: str
    at: Time
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


class Part(BaseModel):
    state: Annotated[str, Field(description="ok or down")]


class Health(Given):
    state: Annotated[str, Field(description="ok or degraded")]
    policy: str
    store: Part
    ledger: Part
    worker: Part
    providers: list[dict[str, Any]]
    money: Annotated[
        dict[str, Any] | None,
        Field(description="Calls of providers, payments and webhooks by provider; null without one."),
    ]


class PolicySummary(BaseModel):
    version: str
    currency: str
    plans: list[str]


class ReloadedPolicy(PolicySummary):
    changed: bool


class ProblemError(Given):
    message: str
    type: str
    code: str
    param: None


class Problem(BaseModel):
    """RFC 9457, with the members that the SDKs of AI providers read."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    error: ProblemError


class State(Given):
    state: str
