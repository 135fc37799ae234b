"""Money that nobody watches: top-ups by themselves, alerts, where notices may go, and the brakes."""

# pydantic copies the defaults of its models, so a mutable one is shared by nobody.
# ruff: noqa: RUF012

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema, model_validator

from metergate.config.fields import Duration, Money, Name, Part, Period, Positive, PositiveMoney, Text, Units
from metergate.core import guards

_DEFAULTS = guards.Brakes()


class TopUps(Part):
    """What accounts get that switch top-ups by themselves on and say no more."""

    threshold: Money = 0
    """Below this balance a top-up begins."""
    amount: PositiveMoney | None = None
    """Credits for as much money; what is short is paid in one payment of so many amounts."""
    pack: Name | None = None
    """Instead of an amount: a pack."""
    monthly_cap: PositiveMoney | None = None
    """The most that is paid in a calendar month; left out: no cap."""
    declines: Positive = 3
    """After how many declines in a row it stops, until somebody acts."""
    pause: Duration = guards.HOUR_US
    """How long is waited after a decline; after each further one four times as long. Left out: 1h."""

    @model_validator(mode="after")
    def _one(self) -> "TopUps":
        if self.amount is not None and self.pack is not None:
            raise ValueError("give amount or pack, and not both")
        return self

    def built(self) -> guards.TopUps:
        sums = (self.threshold, self.amount or 0, self.pack or "", self.monthly_cap or 0)
        return guards.TopUps(*sums, self.declines, self.pause)


class SpendAlert(Part):
    """An amount and the calendar period in which it is counted."""

    amount: PositiveMoney
    """Told when an account has spent so much."""
    every: Period = "month"
    """day, week, month or year, in the policy's zone."""


class Alerts(Part):
    """When somebody is told, of accounts that have no thresholds of their own."""

    balance: list[Money] = []
    """Told when a balance falls below one of these; again after it was mended."""
    spend: list[SpendAlert] = []
    """Told when so much was spent in a period; once in each."""

    def built(self) -> guards.Alerts:
        spend = tuple([guards.SpendAlert(each.amount, each.every) for each in self.spend])
        return guards.Alerts(tuple(sorted(set(self.balance))), spend)


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError("write a network such as 10.0.0.0/8") from None


Network = Annotated[Text, AfterValidator(_network), WithJsonSchema({"type": "string"})]


class Notices(Part):
    """Where webhooks may go."""

    private: list[Network] = []
    """Private networks that they may go to, such as 10.0.0.0/8; left out: public addresses only."""


class Brakes(Part):
    """How often may be paid, and who is one person. 0 is no bound."""

    payments: Units = _DEFAULTS.payments
    """How many payments an account may begin within `every`."""
    payments_per_source: Units = _DEFAULTS.payments_per_source
    """How many may be begun from one address, by whichever accounts."""
    failures: Units = _DEFAULTS.failures
    """How many of an account may fail, before it begins no other."""
    failures_per_source: Units = _DEFAULTS.failures_per_source
    """How many from one address may fail."""
    methods: Units = _DEFAULTS.methods
    """How many payment methods an account may add."""
    methods_per_source: Units = _DEFAULTS.methods_per_source
    """How many may be added from one address."""
    every: Duration = _DEFAULTS.every_us
    """The time within which all of these are counted; left out: 1h."""
    identity: list[Literal["email", "payment", "own"]] = ["email", "payment", "own"]
    """What makes two accounts one person, who gets a promotion once: the e-mail address, what was paid with,
    or `identity` in the metadata of the account."""

    def built(self) -> guards.Brakes:
        return guards.Brakes(
            payments=self.payments,
            payments_per_source=self.payments_per_source,
            failures=self.failures,
            failures_per_source=self.failures_per_source,
            methods=self.methods,
            methods_per_source=self.methods_per_source,
            every_us=self.every,
            identity=tuple(self.identity),
        )
