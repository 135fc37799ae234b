"""Usage that somebody reports, and what became of it."""

from typing import NamedTuple


class Report(NamedTuple):
    """Usage that happened elsewhere, as it is told."""

    account: str
    meter: str
    units: int
    cost: int | None = None
    """Nanos that the reporter knows; None asks the policy's price."""
    at_us: int = 0
    """When it happened; 0 is now."""
    service: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    idempotency_key: str = ""
    kid: str = ""
    """The key that reported, where a customer did."""
    strict: bool = False
    """Whether it is refused when it does not fit; without it, usage that has happened is always counted."""


class Receipt(NamedTuple):
    """What became of a report."""

    request_id: str
    cost: int
    balance: int | None = None
    replayed: bool = False
