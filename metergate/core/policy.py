"""A policy: what one YAML file says, as values. `config/` reads it; nothing here knows YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from metergate.core.guards import Alerts, Brakes, TopUps
from metergate.core.periods import Every
from metergate.core.price import PriceRule

Scope = Literal["account", "key", "plan"]
OnExceed = Literal["block", "overage", "upgrade"]
OnUnknown = Literal["minimum", "hold", "release"]
OnMissing = Literal["minimum", "hold", "release", "estimate"]
OnFailure = Literal["release", "charge"]
OnDisconnect = Literal["used", "hold", "release"]
OnDry = Literal["finish", "stop"]
Prices = Mapping[str, tuple[PriceRule, ...]]

MINUTE_US = 60_000_000
SPEND = "spend"
"""What a cap on money counts, where one on units has the name of a meter."""


@dataclass(frozen=True, slots=True)
class Meter:
    """How units are counted. `count` names the counter; the other fields are its options."""

    name: str
    count: str
    path: str = ""
    header: str = ""
    pattern: str = ""
    of: Literal["response", "request", "both"] = "response"
    otherwise: int | None = None
    """The units of a request that does not say how many."""
    dimensions: tuple[tuple[str, str], ...] = ()
    """Name -> where its value stands in the request's body."""
    max_units: int = 0
    """A count above it is not believed; 0 is the counter's own bound."""
    ask_usage: bool = True
    """Whether a stream is asked for its usage where its client did not."""
    push: bool = True
    """Whether its units are told to a payment provider that counts usage."""

    @property
    def of_kinds(self) -> bool:
        """Whether its units are of several kinds, each with a price of its own."""
        return self.count == "llm"

    @property
    def known_before(self) -> bool:
        """Whether the request itself says how many units it is."""
        return self.count == "mcp" or (self.count == "json" and self.of == "request")

    @property
    def reads_request(self) -> bool:
        """Whether the body of a request is read before it is decided about."""
        return self.known_before or self.of_kinds or bool(self.dimensions)


@dataclass(frozen=True, slots=True)
class Included:
    """Units of a meter that a plan contains, again in every window."""

    units: int
    every: Every = "month"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `rate` calls `per` window, evened out by GCRA; `burst` of them may come at once."""

    rate: int
    per: Every
    burst: int
    scope: Scope = "account"

    @property
    def name(self) -> str:
        return f"{self.rate}-per-{self.per}"


@dataclass(frozen=True, slots=True)
class Cap:
    """At most this much money, or this many units of a meter, in every window. A soft cap only counts."""

    every: Every
    spend: int = 0
    units: int = 0
    meter: str = ""
    scope: Scope = "account"
    soft: bool = False

    @property
    def name(self) -> str:
        return f"{self.meter or SPEND}-{self.every}"


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most this many calls open at once, or at most this much money held by those that are open."""

    calls: int = 0
    scope: Scope = "account"
    held: int = 0
    """Nanos; 0 where it is the number of the calls that is bounded."""


@dataclass(frozen=True, slots=True)
class PlanPrice:
    amount: int
    every: Every = "month"


@dataclass(frozen=True, slots=True)
class Trial:
    """Promotional credits that come once with the first subscription to a plan."""

    credits: int
    lasts_us: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account is entitled to."""

    id: str
    name: str = ""
    features: frozenset[str] = frozenset()
    included: Mapping[str, Included] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    caps: tuple[Cap, ...] = ()
    concurrency: tuple[Concurrency, ...] = ()
    on_exceed: OnExceed = "block"
    overage: Prices = field(default_factory=dict)
    prices: Prices = field(default_factory=dict)
    price: PlanPrice | None = None
    contact: str = ""
    credit_limit: int = 0
    """How far below zero the balance may go (postpaid); money is owed, never lost."""
    anchored: bool = False
    """Windows begin at the instant of the subscription, not with the calendar."""
    trial: Trial | None = None


NO_PLAN = Plan(id="")


@dataclass(frozen=True, slots=True)
class Pack:
    id: str
    credits: int
    price: int


class ProviderChoice(NamedTuple):
    """A payment provider: the adapter, and for whom it is chosen."""

    name: str
    use: str
    when: Mapping[str, str] = {}
    """Patterns of facts of an account."""
    chosen: bool = True
    """Whether it is chosen by itself, or only by name."""
    settings: Mapping[str, str] = {}
    """What goes before the environment."""
    options: Mapping[str, Any] = {}
    """The section of the file that is called like the adapter."""


class TokenHold(NamedTuple):
    """How many tokens are held for an AI call."""

    output: int = 4096
    """Where the request names no maximum."""
    input_cap: int | None = None
    output_cap: int | None = None
    grow: bool = False
    """Whether more is held as soon as a stream has used up what is."""


TOKENS = TokenHold()


@dataclass(frozen=True, slots=True)
class Route:
    """One rule of a policy: which requests, and what they cost."""

    index: int
    match: str
    method: str
    pattern: str
    meter: str = ""
    feature: str = ""
    scope: str = ""
    free: bool = False
    public: bool = False
    hold_units: int = 1
    hold_nanos: int = 0
    hold_tokens: TokenHold = TOKENS
    hold_for_us: int = 10 * MINUTE_US
    multiplier: tuple[int, int] = (1, 1)
    dimensions: tuple[tuple[str, str], ...] = ()
    service: str = ""
    """Who reports the usage, where it is not the policy's own service."""
    shadow: bool = False
    upstream: str = ""
    """Where the proxy forwards it to, by the name that the policy gave it."""
    websocket: bool = False
    body_bytes: int = 0
    """The longest body that is forwarded, where it is another than everywhere."""
    drain_us: int = 0
    """How long an answer is still read whose client has left."""
    on_upstream_error: OnFailure = "release"
    on_client_error: OnFailure = "charge"
    on_disconnect: OnDisconnect = "used"
    on_missing_usage: OnMissing = "hold"
    on_dry: OnDry = "finish"
    """What becomes of a stream that outgrows its hold when nothing more can be held."""
    on_unknown_outcome: OnUnknown = "minimum"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service behind the proxy, and how patient the proxy is with it. Zero stands for no bound."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Added to every request, in the place of the client's own of the same names."""
    ca: str = ""
    """The file of the certificates that are trusted, where those of the system are not."""
    cookies: bool = False
    """Whether cookies pass, in either direction."""
    forwarded: bool = True
    """Whether it is told who asks, in `X-Forwarded-` headers."""
    connect_us: int = 10_000_000
    first_byte_us: int = 120_000_000
    silence_us: int = 120_000_000
    total_us: int = 0
    connections: int = 512
    waiting: int = 512
    """How many calls may wait for one of the connections."""


@dataclass(frozen=True, slots=True)
class Serve:
    """What the data port takes from clients."""

    trusted_proxies: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    url_bytes: int = 8192
    header_bytes: int = 65_536
    header_count: int = 128
    body_bytes: int = 67_108_864
    head_within_us: int = 10_000_000
    body_silence_us: int = 30_000_000
    read_silence_us: int = 60_000_000
    keep_alive_us: int = 75_000_000
    connections: int = 10_000
    connections_per_address: int = 512
    grace_us: int = 30_000_000


@dataclass(frozen=True, slots=True)
class Show:
    """Which answers say what a call cost and what is left."""

    cost: bool = True
    balance: bool = True
    limits: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    version: str
    """Digest of the file; recorded with every usage event."""
    meters: Mapping[str, Meter]
    routes: tuple[Route, ...]
    prices: Prices = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    packs: Mapping[str, Pack] = field(default_factory=dict)
    currency: str = "USD"
    service: str = ""
    environment: Literal["live", "test"] = "live"
    zone: str = "UTC"
    default: Literal["deny", "free"] = "deny"
    default_plan: str = ""
    shadow: bool = False
    limits: tuple[Limit, ...] = ()
    caps: tuple[Cap, ...] = ()
    concurrency: tuple[Concurrency, ...] = ()
    key_headers: tuple[str, ...] = (
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
    )
    show: Show = Show()
    billing: str = "/billing"
    """Where the customer's endpoints stand; empty switches them off."""
    top_up_url: str = ""
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    """Where the proxy forwards to, by name; the one without a name is for routes that name none."""
    serve: Serve = Serve()
    store: str = field(default="", repr=False)
    ledger: str = field(default="", repr=False)
    provider: str = ""
    providers: tuple[ProviderChoice, ...] = field(default=(), repr=False)
    """In the order of the file; who fits first is chosen."""
    compat: bool = False
    """Whether the paths of older systems are served too."""
    return_origins: tuple[str, ...] = ()
    """Where payers may be sent back to, beside our own addresses."""
    enabled: tuple[str, ...] | None = None
    """Which third-party packages may be imported; None means any that the policy names."""
    backlog: int = 1_000_000
    """How many usage events may wait for the ledger before metered calls are answered with 503."""
    late_reports_us: int = 35 * 24 * 60 * MINUTE_US
    """How long ago the usage may have been that customers report themselves."""
    fsync: Literal["always", "everysec", "no"] = "everysec"
    top_ups: TopUps = field(default_factory=TopUps)
    alerts: Alerts = field(default_factory=Alerts)
    brakes: Brakes = field(default_factory=Brakes)
    private_networks: tuple[str, ...] = ()
    """Where notices may go beside public addresses."""
    profile: Literal["standard", "strict"] = "standard"
    """What is refused at the start: only what loses money for certain, or all that a failure could lose."""

    @property
    def payment_url(self) -> str:
        """Where somebody who is out of credits finds a way to pay; empty where there is none."""
        offers = "checkout" if self.providers else "plans"
        return self.top_up_url or (f"{self.billing}/v1/{offers}" if self.billing else "")

    def plan(self, id: str) -> Plan:
        """The plan of that name; an account on no plan, or on one that is gone, has no entitlements."""
        return self.plans.get(id or self.default_plan, NO_PLAN)
