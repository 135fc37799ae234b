"""Prices, plans and limits of the policy file. The sentences under the fields become the JSON Schema."""

# pydantic copies the defaults of its models, so a mutable one is shared by nobody.
# ruff: noqa: RUF012

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from metergate.config import price_tables
from metergate.config.fields import (
    Duration,
    Flag,
    Money,
    Multiplier,
    Name,
    Part,
    Period,
    Positive,
    PositiveMoney,
    PriceText,
    Scope,
    Text,
    Units,
    listed,
    spelled_out,
)
from metergate.core import price as pricing
from metergate.core.sheet import MODEL


class Tier(Part):
    """Units up to and including `up_to` at one price; the last tier has no `up_to`."""

    up_to: Positive | None = None
    """The last unit of the tier; left out in the last one."""
    price: PriceText = "0"
    """The price of a unit in this tier, as a decimal string."""
    per: Positive = 1
    """How many units the price is for."""
    flat: Money = 0
    """Paid once per period, when the tier is entered."""

    def built(self) -> pricing.Tier:
        return pricing.Tier(self.up_to, pricing.Rate.parse(self.price, self.per), self.flat)


class Package(Part):
    """Units sold by the package; a package that is begun is paid whole."""

    units: Positive
    """How many units a package holds."""
    price: Money
    """What a package costs, as a decimal string."""


class Longer(Part):
    """The price in calls whose prompt is longer than so many tokens."""

    above: Positive
    """Tokens of the prompt; the price holds for calls with more than that."""
    price: PriceText
    """The price of `per` units in such a call, as a decimal string."""


class Price(Part):
    """One price of a meter: exactly one of `price`, `flat`, `package`, `tiers` and `table`."""

    when: dict[str, Text] = {}
    """The dimensions this price is for, as patterns with `*`: `{model: "gpt-4o*", kind: input}`."""
    price: PriceText | None = None
    """The price of `per` units, as a decimal string."""
    per: Positive = 1
    """How many units `price` is for, such as 1_000_000."""
    longer: list[Longer] = []
    """Other prices of `per` units in calls with longer prompts, for `count: llm`; shorter ones first."""
    table: Name | None = None
    """For `count: llm`: what the maker of the models asks for, by the dated table of genai-prices: openai,
    anthropic, google and many others. With `multiplier` as your margin."""
    flat: Money | None = None
    """The price of a call, however many units it counts."""
    package: Package | None = None
    """Units sold by the package."""
    tiers: list[Tier] | None = None
    """Prices that depend on how many units the period has counted."""
    mode: Literal["graduated", "volume"] | None = None
    """graduated (the default): each unit at the price of its tier. volume: all units at the price of the tier
    that the period has reached; for postpaid plans."""
    multiplier: Multiplier = (1, 1)
    """The price times this, such as "1.25"."""
    minimum: Money = 0
    """What a call costs at least."""

    @model_validator(mode="after")
    def _sensible(self) -> "Price":
        self.rule()
        return self

    def rule(self) -> pricing.PriceRule:
        """The price as the core counts with it."""
        # Names of models are the same in capitals.
        when = tuple(
            (name, str(pattern).lower() if name == MODEL else str(pattern))
            for name, pattern in self.when.items()
        )
        return pricing.PriceRule(when, self._kind(), self.multiplier, self.minimum)

    def _kind(self) -> pricing.Price:
        forms = [self.price, self.flat, self.package, self.tiers, self.table]
        if sum(form is not None for form in forms) != 1:
            raise ValueError("give exactly one of price, flat, package, tiers and table")
        for option in ("per", "longer"):
            if self.price is None and option in self.model_fields_set:
                raise ValueError(f"{option} belongs to price; remove it")
        if self.tiers is None and self.mode:
            raise ValueError("mode belongs to tiers; remove it")
        if self.table is not None:
            return pricing.Listed(price_tables.table(self.table))
        if self.price is not None and self.longer:
            steps = [(one.above, pricing.Rate.parse(one.price, self.per)) for one in self.longer]
            return pricing.ByPrompt(pricing.Rate.parse(self.price, self.per), tuple(steps))
        if self.price is not None:
            return pricing.PerUnit(pricing.Rate.parse(self.price, self.per))
        if self.flat is not None:
            return pricing.Flat(self.flat)
        if self.package is not None:
            return pricing.Package(self.package.units, self.package.price)
        tiers = tuple([tier.built() for tier in self.tiers or ()])
        return pricing.Volume(tiers) if self.mode == "volume" else pricing.Graduated(tiers)


Prices = Annotated[
    list[Price], Field(min_length=1), BeforeValidator(listed, json_schema_input_type=list[Price] | Price)
]


class Included(Part):
    """Units that a plan contains, again in every period."""

    units: Units
    """How many units cost nothing."""
    every: Period = "month"
    """How often the allowance begins again."""


class Limit(Part):
    """A rate, evened out (GCRA): at most `rate` calls `per` period."""

    rate: Positive
    """How many calls."""
    per: Literal["second", "minute", "hour", "day"]
    """The period the rate is for."""
    burst: Positive | None = None
    """How many of them may come at once; left out: all of them."""
    scope: Scope = "account"


class Cap(Part):
    """A ceiling in every period: an amount of money (`spend`), or units of a `meter`."""

    spend: PositiveMoney | None = None
    """The most that may be spent; beyond it calls are refused with 402."""
    units: Positive | None = None
    """The most units that may be used; beyond it calls are refused with 429."""
    meter: Name | None = None
    """The meter whose units are capped."""
    every: Period = "month"
    """How often the cap begins again."""
    scope: Scope = "account"
    soft: Flag = False
    """Count and never refuse."""

    @model_validator(mode="after")
    def _one(self) -> "Cap":
        if (self.spend is None) == (self.units is None):
            raise ValueError("give either spend, or units of a meter")
        if (self.units is None) != (self.meter is None):
            raise ValueError("give units and meter together")
        return self


class Concurrency(Part):
    """At most this many calls open at once, or at most this much money held by those that are open."""

    calls: Positive | None = None
    """How many calls may be open."""
    held: PositiveMoney | None = None
    """How much open calls may hold together, as a decimal string."""
    scope: Scope = "account"

    @model_validator(mode="after")
    def _one(self) -> "Concurrency":
        if (self.calls is None) == (self.held is None):
            raise ValueError("give either calls, or held")
        return self


class PlanPrice(Part):
    """What a plan costs."""

    amount: Money
    """The price of a period, as a decimal string."""
    every: Period = "month"
    """How often it is paid."""


class Trial(Part):
    """Promotional credits that come once, with an account's first subscription to the plan."""

    credits: PositiveMoney
    """How much is given, as a decimal string."""
    lasts: Duration = Field(alias="for")
    """How long it can be spent, such as 14d."""


Limits = Annotated[list[Limit], BeforeValidator(listed, json_schema_input_type=list[Limit] | Limit)]
Caps = Annotated[list[Cap], BeforeValidator(listed, json_schema_input_type=list[Cap] | Cap)]
Concurrencies = Annotated[
    list[Concurrency],
    BeforeValidator(listed, json_schema_input_type=list[Concurrency] | Concurrency | Positive),
    # The validator that stands last is asked first.
    BeforeValidator(spelled_out("calls")),
]


class Plan(Part):
    """What an account is entitled to. The order of the plans is the order of upgrades."""

    name: Text = ""
    """What customers see; left out: the key of the plan."""
    price: PlanPrice | None = None
    """What the plan itself costs; left out: nothing."""
    contact: Text = ""
    """Where to ask for the plan, when it cannot be bought by oneself."""
    features: list[Name] = []
    """What routes may ask for with `feature`."""
    included: dict[Name, Included] = {}
    """Units of a meter that cost nothing, by meter."""
    on_exceed: Literal["block", "overage", "upgrade"] = "block"
    """What happens beyond the allowance. block: 429 until the next period. overage: the price under
    `overage`, or the meter's own. upgrade: the next plan in the file with a larger allowance."""
    overage: dict[Name, Prices] = {}
    """What units beyond the allowance cost, by meter."""
    prices: dict[Name, Prices] = {}
    """Prices of this plan in place of the general ones, by meter."""
    limits: Limits = []
    """Rates for accounts on this plan."""
    caps: Caps = []
    """Ceilings for accounts on this plan."""
    concurrency: Concurrencies = []
    """How many calls may be open at once on this plan, or how much they may hold: a number, or a list with
    scopes."""
    credit_limit: Money = 0
    """How far below zero the balance may go: the plan is postpaid."""
    anchor: Literal["calendar", "subscription"] = "calendar"
    """Whether periods begin with the calendar, or at the instant of the subscription."""
    trial: Trial | None = None
    """Credits to begin with."""


class Pack(Part):
    """Credits that can be bought at once."""

    credits: PositiveMoney
    """How much the balance grows, as a decimal string."""
    price: PositiveMoney
    """What the pack costs, as a decimal string."""
