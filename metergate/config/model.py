"""The policy file as a whole. The sentences under the fields become the JSON Schema."""

# pydantic copies the defaults of its models, so a mutable one is shared by nobody.
# ruff: noqa: RUF012

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from metergate.config.fields import (
    Currency,
    Duration,
    Flag,
    FormatVersion,
    Header,
    Link,
    Multiplier,
    Name,
    Part,
    Positive,
    PositiveMoney,
    Prefix,
    Text,
    Units,
    WebAddress,
    Word,
    Zone,
)
from metergate.config.model_connections import Company, Invoices, ProviderChoice, Web3
from metergate.config.model_guards import Alerts, Brakes, Notices, TopUps
from metergate.config.model_plans import Caps, Concurrencies, Limits, Pack, Plan, Prices
from metergate.config.model_proxy import Serve, Upstream
from metergate.core import match
from metergate.core.policy import TOKENS
from metergate.meters import COUNTS, json_path, regex


def _json_path(text: str) -> str:
    try:
        json_path.compiled(text)
    except ValueError:
        raise ValueError("write a path such as $.usage.total, $.rows[0].size or $['a b']") from None
    return text


JsonPath = Annotated[Text, AfterValidator(_json_path)]


def _pattern(text: str) -> str:
    try:
        regex.compiled(text)
    except ValueError:
        raise ValueError("write a regular expression with one group, around the number") from None
    return text


Pattern = Annotated[Text, AfterValidator(_pattern)]


class Meter(Part):
    """How units are counted."""

    count: Word
    """calls: one per call. messages: those of a WebSocket. bytes and seconds: of the answer.
    json: a number in a JSON body, at `path`. header: a number in an answer's `header`.
    regex: the last match of `pattern` near the end of the answer. llm: tokens of AI APIs, by kind.
    mcp: calls of MCP servers, by method and tool. cost: what the upstream says that the call cost.
    app: what the application records.
    Another word: the counter of an installed package metergate_<word>."""
    path: JsonPath = ""
    """For json and cost: where the number stands, such as $.result.rows."""
    header: Header | None = None
    """For header and cost: the name of the answer's header that holds the number."""
    pattern: Pattern = ""
    """For regex: a regular expression with one group, around the number."""
    of: Literal["response", "request", "both"] = "response"
    """For bytes and json: which body is counted. A number of the request is known before the call."""
    otherwise: Units | None = None
    """For json of the request: the units where the request does not say; left out: it is refused."""
    dimensions: dict[Name, JsonPath] = {}
    """Dimensions for prices with `when`, and where they stand in the request's JSON: `{size: $.size}`."""
    max_units: Positive | None = None
    """For json, header, regex and llm: a count above it is not believed; left out: 10 million for llm."""
    max_cost: PositiveMoney | None = None
    """For cost: an amount above it is not believed."""
    ask_usage: Flag = True
    """For llm: ask a stream for its usage where its client does not, and keep it from that client."""
    push: Flag = True
    """Whether its units are told to a payment provider that counts usage, for accounts that it knows."""

    @model_validator(mode="after")
    def _complete(self) -> "Meter":
        given = [option for option in OPTIONS if option in self.model_fields_set]
        for option in given:
            if self.count in COUNTS and self.count not in OPTIONS[option]:
                raise ValueError(f"{option} belongs to count: {' and '.join(OPTIONS[option])}; remove it")
        for option in NEEDED.get(self.count, ()):
            if option not in given:
                raise ValueError(f"count: {self.count} needs a {option}")
        if self.count == "cost" and len({"path", "header"} & set(given)) != 1:
            raise ValueError("count: cost needs a path or a header, and not both")
        if self.count == "json" and self.of == "both":
            raise ValueError(
                "a number stands in the request or in the response; write of: request or response"
            )
        if self.otherwise is not None and self.of != "request":
            raise ValueError("otherwise belongs to of: request; remove it")
        return self


OPTIONS: Mapping[str, Sequence[str]] = {
    "path": ("json", "cost"),
    "header": ("header", "cost"),
    "pattern": ("regex",),
    "otherwise": ("json",),
    "max_units": ("json", "header", "regex", "llm"),
    "max_cost": ("cost",),
    "ask_usage": ("llm",),
}
"""Which counts an option is for."""
NEEDED: Mapping[str, Sequence[str]] = {"json": ("path",), "header": ("header",), "regex": ("pattern",)}


class Hold(Part):
    """What is set aside before a call whose units are known only after it: units, an amount, or tokens."""

    units: Units | None = None
    """This many units at their price."""
    amount: PositiveMoney | None = None
    """This much money, as a decimal string."""
    output_tokens: Units = TOKENS.output
    """For llm: this many output tokens where the request names no maximum; left out: 4096."""
    input_cap: Units | None = None
    """For llm: at most this many input tokens, however long the prompt is."""
    output_cap: Units | None = None
    """For llm: at most this many output tokens, whatever maximum the request names."""
    grow: Flag = False
    """For llm: hold more as soon as a stream has used up what is held."""

    @model_validator(mode="after")
    def _one(self) -> "Hold":
        tokens = {"output_tokens", "input_cap", "output_cap", "grow"} & self.model_fields_set
        if sum((self.units is not None, self.amount is not None, bool(tokens))) != 1:
            raise ValueError("give units, or amount, or some of output_tokens, input_cap, output_cap, grow")
        return self


def _readable(text: str) -> str:
    wrong = match.problem(text)
    if wrong:
        raise ValueError(wrong)
    return text


Match = Annotated[Text, AfterValidator(_readable)]


class Route(Part):
    """Which requests, and what they cost. The first route that matches a request decides."""

    match: Match
    """Method and path: "POST /v1/chat", "GET /users/{id}", "* /v1/*/rows", "* /**"."""
    meter: Name | None = None
    """What is counted and charged."""
    free: Flag = False
    """Charges nothing, but wants a key."""
    public: Flag = False
    """Charges nothing and wants no key."""
    feature: Name | None = None
    """The feature that the account's plan must have."""
    scope: Name | None = None
    """The scope that a key with scopes must have."""
    hold: Hold | None = None
    """What is set aside before the call; left out: one unit."""
    hold_for: Duration = 600_000_000
    """How long a call may take before its hold is ended by `on_unknown_outcome`; left out: 10m."""
    multiplier: Multiplier = (1, 1)
    """The cost times this, such as "1.5"."""
    dimensions: dict[Name, Text] = {}
    """Dimensions that every call of this route has, for prices with `when`."""
    shadow: Flag = False
    """Decide and record, never refuse."""
    upstream: Name | None = None
    """In the proxy: which of `upstreams` it goes to; left out: `upstream`."""
    websocket: Flag = False
    """In the proxy: whether a WebSocket may be opened here."""
    body_bytes: Positive | None = None
    """In the proxy: the longest body, in bytes; left out: that of `serve`."""
    drain: Duration | None = None
    """In the proxy: how long an answer is still read whose client has left, so that what it used is seen.
    Left out: the upstream is stopped."""
    on_upstream_error: Literal["release", "charge"] = "release"
    """What a call costs that ended in an error of the app or the upstream (5xx): nothing, or what it used."""
    on_client_error: Literal["release", "charge"] = "charge"
    """What a call costs that was answered with 4xx: nothing, or what it used."""
    on_disconnect: Literal["used", "hold", "release"] = "used"
    """What a call costs whose client left: what it used so far, all that was held, or nothing."""
    on_missing_usage: Literal["minimum", "hold", "release", "estimate"] = "hold"
    """What a call costs whose answer does not say what it used: what was held, the minimum, nothing, or for
    llm an estimate from the text that was seen."""
    on_dry: Literal["finish", "stop"] = "finish"
    """What becomes of a stream that outgrows its hold when the credits are used up: it is finished, and what
    is missing is owed; or it is stopped with an error that SDKs know. For hold: {grow: true}."""
    on_unknown_outcome: Literal["minimum", "hold", "release"] = "minimum"
    """What a call costs whose end nobody saw, because a process died."""

    @model_validator(mode="after")
    def _sensible(self) -> "Route":
        costs = [self.meter is not None, self.free, self.public]
        if not any(costs):
            raise ValueError("say what the route costs: give a meter, free: true or public: true")
        if sum(costs) > 1:
            raise ValueError("keep one of meter, free and public")
        if self.public and (self.feature or self.scope):
            raise ValueError("a public route knows no caller: remove feature and scope, or use free: true")
        if self.hold and self.meter is None:
            raise ValueError("only a route with a meter can hold something; remove hold")
        if self.on_dry == "stop" and not (self.hold and self.hold.grow):
            raise ValueError("on_dry: stop needs a hold that grows; add hold: {grow: true}")
        return self


class Show(Part):
    """What answers tell the caller."""

    cost: Flag = True
    """The header metergate-cost."""
    balance: Flag = True
    """The header metergate-balance."""
    limits: Flag = True
    """The RateLimit and x-ratelimit headers."""


class PolicyFile(Part):
    """A policy of metergate: what is counted, what it costs, and who may use it.

    Every value may hold ${NAME} or ${NAME:-default} from the environment; $$ is a dollar sign.
    Amounts of money are decimal strings.
    """

    metergate: FormatVersion
    """The version of this format."""
    service: Name | None = None
    """The name of this service in usage rows, where several report to one ledger."""
    environment: Literal["live", "test"] = "live"
    """Which keys are accepted: mg_live_ or mg_test_."""
    currency: Currency = "USD"
    """The currency of every amount in the file."""
    zone: Zone = "UTC"
    """The time zone in which periods begin."""
    meters: dict[Name, Meter] = {}
    """What is counted."""
    prices: dict[Name, Prices] = {}
    """What a meter's units cost, where the plan says nothing else; the first price that matches."""
    plans: dict[Name, Plan] = {}
    """What accounts are entitled to; smaller plans first."""
    default_plan: Name | None = None
    """The plan of accounts that are on none."""
    packs: dict[Name, Pack] = {}
    """Credits on offer."""
    routes: list[Route] = []
    """Which requests are charged how; the first that matches."""
    default: Literal["deny", "free"] = "deny"
    """What happens to requests that no route names: deny (403) or free."""
    limits: Limits = []
    """Rates for everybody."""
    caps: Caps = []
    """Ceilings for everybody."""
    concurrency: Concurrencies = []
    """How many calls may be open at once, or how much they may hold: a number per account, or a list with
    scopes."""
    shadow: Flag = False
    """Decide and record, never refuse: to try a policy on live traffic."""
    show: Show = Show()
    """What answers tell the caller about cost and limits."""
    key_headers: Annotated[list[Header], Field(min_length=1)] = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
    ]
    """The headers a key may stand in."""
    billing: Prefix = "/billing"
    """Where the customer's endpoints stand; off switches them off."""
    top_up_url: Link = ""
    """The page for buying credits that refusals point to; a web address or a path."""
    upstream: Upstream | None = None
    """Where the proxy forwards to."""
    upstreams: dict[Name, Upstream] = {}
    """Other places to forward to, for the routes that name them."""
    serve: Serve = Serve()
    """What `metergate serve` takes from clients."""
    store: Text = ""
    """The counters; left out: embedded in the data folder; memory is for tests; redis:// follows later."""
    ledger: Text = ""
    """The ledger: postgresql://host/database; left out: SQLite in the data folder."""
    provider: Word | None = None
    """Who collects money: sandbox, stripe, paypal, square, adyen, web3; left out: usage tracking only."""
    providers: dict[Name, ProviderChoice] = {}
    """Several providers by a name of your choice; `default` is for accounts that no rule chooses for."""
    return_origins: list[WebAddress] = []
    """Sites that payers may be sent back to, such as https://example.com; FRONTEND_URL is one already."""
    web3: Web3 | None = None
    """Payments on chains."""
    top_ups: TopUps = TopUps()
    """Top-ups by themselves: what accounts get that switch them on."""
    alerts: Alerts = Alerts()
    """When somebody is told of a balance or of what was spent."""
    notices: Notices = Notices()
    """Where webhooks may go."""
    brakes: Brakes = Brakes()
    """How often may be paid, and who gets a promotion once."""
    enabled: list[Word] | None = None
    """Which packages metergate_<name> may be imported; left out: those that this file names."""
    backlog: Positive = 1_000_000
    """How many usage events may wait for the ledger before metered calls are answered with 503."""
    late_reports: Duration = 35 * 86_400_000_000
    """How long ago the usage may have been that customers report themselves."""
    fsync: Literal["always", "everysec", "no"] = "everysec"
    """When journals make sure of the disk: what a power failure may cost."""
    profile: Literal["standard", "strict"] = "standard"
    """strict: nothing that was acknowledged may be lost by any single failure, the power's too. It makes
    `fsync: always`, and refuses to start where a setting of Redis, PostgreSQL or the disk says otherwise.
    standard: such settings are warned about."""
    company: Company = Company()
    """Who issues the invoices."""
    invoices: Invoices = Invoices()
    """How invoices are numbered and sent."""
    compat: Flag = False
    """Also serve the paths of older systems."""

    @model_validator(mode="after")
    def _synced(self) -> "PolicyFile":
        if self.profile == "strict" and "fsync" in self.model_fields_set and self.fsync != "always":
            raise ValueError("profile: strict is fsync: always; remove fsync, or the profile")
        return self

    @model_validator(mode="after")
    def _watched_once(self) -> "PolicyFile":
        """Two that watch the same address would both credit what comes there."""
        if [self.provider, *(each.use for each in self.providers.values())].count("web3") > 1:
            raise ValueError("name web3 as one provider only; its chains and tokens are one list for all")
        return self
