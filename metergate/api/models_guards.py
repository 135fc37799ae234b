"""The bodies of top-ups by themselves and of alerts."""

from typing import Annotated

from pydantic import Field

from metergate.api.models import AmountText, Given, Money, Taken, Time


class TopUpSettings(Taken):
    threshold: Annotated[AmountText | None, Field(description="Below it a top-up begins.")] = None
    amount: AmountText | None = None
    pack: str | None = None
    monthly_cap: AmountText | None = None
    method: Annotated[str, Field(description="A kept payment method; the first unless told.")] | None = None


class TopUp(Given):
    account: str
    state: Annotated[str, Field(description="on, off, or stopped until somebody acts")]
    threshold: Money
    amount: Money | None
    pack: str | None
    monthly_cap: Money | None
    method: str | None
    in_flight: Annotated[str | None, Field(description="The payment that has no end yet")]
    spent_this_month: Money
    declines: int
    reason: Annotated[str | None, Field(description="Why it waits or was stopped")]
    updated_at: Time | None


class SpendLevel(Taken):
    amount: AmountText
    every: Annotated[str, Field(description="day, week, month or year")] = "month"


class AlertSettings(Taken):
    balance: Annotated[list[AmountText], Field(description="Told when it falls below.")] | None = None
    spend: Annotated[list[SpendLevel], Field(description="Told when so much was spent.")] | None = None


class SpendAlert(Given):
    amount: Money
    every: str


class AlertLevels(Given):
    account: str
    balance: list[Money]
    spend: list[SpendAlert]
