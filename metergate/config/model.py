"""The policy file as a whole. The sentences under the fields become the JSON Schema."""

# pydantic copies the defaults of its models, so a mutable one is shared by nobody.
# ruff: noqa: RUF012

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
    Word,
    Zone,
)
from metergate.config.model_connections import Company, Invoices, ProviderChoice, Upstream, Web3
from metergate.config.model_plans import Caps, Concurrencies, Limits, Pack, Plan, Prices
from metergate.core import match
from metergate.meters import COUNTS, json_path


def _json_path(text: str) -> str:
    try:
        json_path.compiled(text)
    except ValueError:
        raise ValueError("write a path such as $.usage.total, $.rows[0].size or $['a b']") from None
    return text


JsonPath = Annotated[Text, AfterValidator(_json_path)]


class Meter(Part):
    """How units are counted."""

    count: Word
    """calls: one per call. messages: those of a WebSocket. bytes and seconds: of the answer.
    json: a number in a JSON body, at `path`. header: a number in an answer's `header`.
    app: what the application records. llm: tokens, in the proxy.
    Another word: the counter of an installed package metergate_<word>."""
    path: JsonPath = ""
    """For json: where the number stands, such as $.result.rows."""
    header: Header | None = None
    """For header: the name of the answer's header that holds the number."""
    of: Literal["response", "request", "both"] = "response"
    """For bytes and json: which body is counted."""

    @model_validator(mode="after")
    def _complete(self) -> "Meter":
        for option, wanted, given in (("path", "json", self.path), ("header", "header", self.header)):
            if self.count == wanted and not given:
                raise ValueError(f"count: {wanted} needs a {option}")
            if self.count in COUNTS and self.count != wanted and given:
                raise ValueError(f"{option} belongs to count: {wanted}; remove it")
        if self.count == "json" and self.of == "both":
            raise ValueError(
                "a number stands in the request or in the response; write of: request or response"
            )
        return self


class Hold(Part):
    """What is set aside before a call whose units are known only after it: one of the three."""

    units: Units | None = None
    """This many units at their price."""
    output_tokens: Units | None = None
    """This many output tokens where the request names no maximum."""
    amount: PositiveMoney | None = None
    """This much money, as a decimal string."""

    @model_validator(mode="after")
    def _one(self) -> "Hold":
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of units, output_tokens and amount")
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
    on_upstream_error: Literal["release", "charge"] = "release"
    """What a call costs that ended in an error of the app or the upstream (5xx): nothing, or what it used."""
    on_client_error: Literal["release", "charge"] = "charge"
    """What a call costs that was answered with 4xx: nothing, or what it used."""
    on_disconnect: Literal["used", "hold", "release"] = "used"
    """What a call costs whose client left: what it used so far, all that was held, or nothing."""
    on_missing_usage: Literal["minimum", "hold", "release"] = "hold"
    """What a call costs whose answer does not say what it used: what was held, the minimum, or nothing."""
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
    """How many calls may be open at once: a number per account, or a list with scopes."""
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
    store: Text = ""
    """The counters; left out: embedded in the data folder; memory is for tests; redis:// follows later."""
    ledger: Text = ""
    """The ledger: postgresql://host/database; left out: SQLite in the data folder."""
    provider: Word | None = None
    """Who collects money: sandbox, stripe, paypal, square, adyen, web3; left out: usage tracking only."""
    providers: dict[Name, ProviderChoice] = {}
    """Several providers by a name of your choice; `default` is for accounts that no rule chooses for."""
    web3: Web3 | None = None
    """Payments on chains."""
    enabled: list[Word] | None = None
    """Which packages metergate_<name> may be imported; left out: those that this file names."""
    backlog: Positive = 1_000_000
    """How many usage events may wait for the ledger before metered calls are answered with 503."""
    fsync: Literal["always", "everysec", "no"] = "everysec"
    """When the embedded store makes sure of the disk: what a power failure may cost."""
    company: Company = Company()
    """Who issues the invoices."""
    invoices: Invoices = Invoices()
    """How invoices are numbered and sent."""
    compat: Flag = False
    """Also serve the paths of older systems."""
