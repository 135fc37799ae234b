"""What a policy says of money that nobody watches: top-ups by themselves, alerts, notices, and the brakes."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from metergate.core.periods import Every

HOUR_US: Final = 3600 * 10**6


@dataclass(frozen=True, slots=True)
class TopUps:
    """What an account gets that switches top-ups on and says no more. Zero and empty stand for nothing."""

    threshold: int = 0
    amount: int = 0
    pack: str = ""
    monthly_cap: int = 0
    declines: int = 3
    """After how many declines in a row it stops, until somebody says otherwise."""
    pause_us: int = HOUR_US
    """How long is waited after a decline; after each further one four times as long."""


class SpendAlert(NamedTuple):
    amount: int
    every: Every


@dataclass(frozen=True, slots=True)
class Alerts:
    """The thresholds of accounts that have none of their own."""

    balance: tuple[int, ...] = ()
    spend: tuple[SpendAlert, ...] = ()


@dataclass(frozen=True, slots=True)
class Brakes:
    """How often something may happen within `every_us`; 0 is no bound."""

    payments: int = 30
    """Payments that an account begins."""
    payments_per_source: int = 60
    """Payments that are begun from one address, by whichever accounts."""
    failures: int = 5
    """Payments of an account that failed: then it begins no other."""
    failures_per_source: int = 10
    methods: int = 10
    """Payment methods that an account adds."""
    methods_per_source: int = 20
    every_us: int = HOUR_US
    identity: tuple[str, ...] = ("email", "payment", "own")
    """What makes two accounts one person, for promotions: `email`, `payment` (the fingerprint of what was
    paid with) and `own` (`identity` in the account's metadata)."""
