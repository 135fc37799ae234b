"""What is known about a key and an account when a decision is made."""

from typing import NamedTuple

from metergate.core.periods import Every


class KeyFacts(NamedTuple):
    """A key as the store knows it; the secret itself is known to nobody but its owner."""

    kid: str
    account: str
    digest: str
    pepper: int = 1
    environment: str = "live"
    scopes: tuple[str, ...] = ()
    revoked: bool = False
    expires_at_us: int = 0
    cap_nanos: int = 0
    cap_every: Every = "month"
    version: int = 0
    """Grows with every change in the ledger, so that what comes late is known to be old."""
    networks: tuple[str, ...] = ()
    """Where it may come from; none is everywhere."""


class AccountFacts(NamedTuple):
    """An account as the store knows it."""

    id: str
    plan: str = ""
    plan_since_us: int = 0
    suspended: bool = False
    version: int = 0
    """As that of a key."""


class Caller(NamedTuple):
    """Who calls: an account, the key it showed (or none), and the generation both were read at.

    Every change of the account or of one of its keys moves the generation, and the store compares it inside
    the hold: what was decided from old facts is refused there and decided again.
    """

    account: AccountFacts
    key: KeyFacts | None
    generation: int
