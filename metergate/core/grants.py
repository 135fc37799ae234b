"""Grants: which credit pays first, what is spendable at an instant, and how debt is paid off.

This is the one burn-down function. The store only knows the spendable sum; the ledger asks here, in event
order, which grant gave how much.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grant:
    """Credits given to an account, usable from `effective_at_us` until just before `expires_at_us`."""

    id: str
    remaining: int
    priority: int = 50
    expires_at_us: int | None = None
    promotional: bool = False
    effective_at_us: int = 0

    def usable(self, at_us: int) -> bool:
        """Whether it can pay at the instant."""
        started = self.effective_at_us <= at_us
        ended = self.expires_at_us is not None and self.expires_at_us <= at_us
        return started and not ended and self.remaining > 0


@dataclass(frozen=True, slots=True)
class Burn:
    """How an amount was paid: (grant id, amount) in order, and what no grant covered."""

    draws: tuple[tuple[str, int], ...]
    uncovered: int


def order(grants: Iterable[Grant], at_us: int) -> list[Grant]:
    """The grants usable at the instant, in the one order in which they are spent."""
    return sorted((grant for grant in grants if grant.usable(at_us)), key=_rank)


def burn(grants: Iterable[Grant], amount: int, at_us: int) -> Burn:
    """Which grants pay the amount; draws and uncovered always sum to it."""
    if amount < 0:
        raise ValueError("Burn an amount of zero or more; give credits back with a new grant.")
    draws = []
    uncovered = amount
    for grant in order(grants, at_us):
        if uncovered == 0:
            break
        taken = min(grant.remaining, uncovered)
        draws.append((grant.id, taken))
        uncovered -= taken
    return Burn(tuple(draws), uncovered)


def repay(debt: int, amount: int) -> tuple[int, int]:
    """How a new grant splits into (what pays recorded debt, what remains to be spent)."""
    paid = min(max(debt, 0), amount)
    return paid, amount - paid


def spendable(grants: Iterable[Grant], at_us: int) -> int:
    """The sum of what is usable at the instant."""
    return sum(grant.remaining for grant in grants if grant.usable(at_us))


def _rank(grant: Grant) -> tuple[int, bool, int, bool, int, str]:
    return (
        grant.priority,
        grant.expires_at_us is None,  # what never expires is spent last
        grant.expires_at_us or 0,
        not grant.promotional,
        grant.effective_at_us,
        grant.id,
    )
