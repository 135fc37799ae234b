"""What accounts have and owe, held still while a transaction changes it.

`hold_still` locks the accounts and reads their snapshots; the methods of `Standing` change them in memory and
answer with the ledger lines of the change; `save` writes the snapshots back. Nothing else writes them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from metergate.core.batch import Lot
from metergate.core.grants import Grant, burn, repay
from metergate.core.money import MAX
from metergate.ledger import bulk, tables
from metergate.ledger.balances import ensure_snapshots
from metergate.ledger.database import Tx
from metergate.ledger.transactions import BREAKAGE, CREDITS, DEBT, FUNDING, REVENUE, Line

_COLUMNS: Final = ("org", "account", "currency", "balance", "debt")

Purse = tuple[str, str]
"""An account and one currency: credits of two currencies never mix."""


class Standing:
    """The grants with something left, and the debt, of one purse."""

    __slots__ = ("account", "changed", "currency", "debt", "grants")

    def __init__(self, purse: Purse) -> None:
        self.account, self.currency = purse
        self.debt = 0
        self.grants: dict[str, Grant] = {}
        self.changed: set[str] = set()

    @property
    def balance(self) -> int:
        return sum(grant.remaining for grant in self.grants.values()) - self.debt

    def give(self, grant: Grant) -> list[Line]:
        """Add a new grant; what is owed is paid from it first."""
        amount = grant.remaining
        paid, rest = repay(self.debt, amount)
        self.debt -= paid
        self._leave(grant, rest)
        lines = [
            Line(CREDITS, self.currency, amount, grant.id),
            Line(CREDITS, self.currency, -paid, grant.id),
            Line(DEBT, self.currency, paid),
            Line(FUNDING, self.currency, -amount),
        ]
        return [line for line in lines if line.amount]

    def use(self, lots: Sequence[Lot], total: int) -> list[Line]:
        """Pay for the events in the order of their instants; what no grant covers becomes debt."""
        last = max(max(lot.instants) for lot in lots)
        draws: dict[str, int] = {}
        debt = sum(self._burn(amount, at_us, draws) for at_us, amount in self._charges(lots, total, last))
        # A grant that was given after the call and before its posting pays the debt, as a later one would.
        if debt and self.grants:
            latest = max(grant.effective_at_us for grant in self.grants.values())
            debt = self._burn(debt, max(latest, last), draws)
        self.debt += debt
        if max(total, self.debt) > MAX:
            raise OverflowError(f"{self.account} would owe more {self.currency} than 64 bits can count.")
        lines = [Line(CREDITS, self.currency, -taken, id) for id, taken in draws.items()]
        if debt:
            lines.append(Line(DEBT, self.currency, -debt))
        lines.append(Line(REVENUE, self.currency, total))
        return lines

    def take(self, amount: int, at_us: int, grant: str = "") -> list[Line]:
        """Take credits back, from a grant first where one is named; what was spent already is owed."""
        draws: dict[str, int] = {}
        own = self.grants.get(grant)
        if own is not None:
            draws[grant] = min(own.remaining, amount)
            self._leave(own, own.remaining - draws[grant])
        debt = self._burn(amount - draws.get(grant, 0), at_us, draws)
        self.debt += debt
        if self.debt > MAX:
            raise OverflowError(f"{self.account} would owe more {self.currency} than 64 bits can count.")
        lines = [Line(CREDITS, self.currency, -taken, id) for id, taken in draws.items()]
        return [
            *lines,
            *([Line(DEBT, self.currency, -debt)] if debt else []),
            Line(FUNDING, self.currency, amount),
        ]

    def expire(self, id: str) -> list[Line]:
        """Take away what is left of a grant whose time is over."""
        rest = self.grants[id].remaining
        self._leave(self.grants[id], 0)
        return [Line(CREDITS, self.currency, -rest, id), Line(BREAKAGE, self.currency, rest)]

    def _charges(self, lots: Sequence[Lot], total: int, last: int) -> Iterable[tuple[int, int]]:
        # As long as no grant begins or ends between the first and the last event, their order changes nothing
        # and their sum burns like each of them.
        first = min(min(lot.instants) for lot in lots)
        for grant in self.grants.values():
            if first < grant.effective_at_us <= last or first < (grant.expires_at_us or 0) <= last:
                return sorted(
                    (at_us, outcome.cost)
                    for lot in lots
                    for at_us, outcome in zip(lot.instants, lot.outcomes, strict=True)
                )
        return [(last, total)]

    def _burn(self, amount: int, at_us: int, draws: dict[str, int]) -> int:
        burned = burn(self.grants.values(), amount, at_us)
        for id, taken in burned.draws:
            draws[id] = draws.get(id, 0) + taken
            grant = self.grants[id]
            self._leave(grant, grant.remaining - taken)
        return burned.uncovered

    def _leave(self, grant: Grant, remaining: int) -> None:
        self.changed.add(grant.id)
        if remaining:
            # Not dataclasses.replace, which takes longer than the rest of the burn.
            fixed = (grant.priority, grant.expires_at_us, grant.promotional, grant.effective_at_us)
            self.grants[grant.id] = Grant(grant.id, remaining, *fixed)
        else:
            self.grants.pop(grant.id, None)


def hold_still(tx: Tx, purses: Iterable[Purse]) -> dict[Purse, Standing]:
    """The standings of the purses; on PostgreSQL nobody else changes them until the transaction ends."""
    ensure_snapshots(tx)
    # One order for everybody, or two writers could wait for each other for ever.
    standings = {purse: Standing(purse) for purse in sorted(set(purses))}
    if not tx.sqlite:  # there, who writes is alone; here a row has to exist to be locked
        rows = [(tx.org, *purse, 0, 0) for purse in standings]
        bulk.insert(tx, tables.account_balances, _COLUMNS, rows, "ON CONFLICT DO NOTHING")
    accounts = sorted({account for account, _ in standings})
    query = "SELECT account, currency, debt FROM account_balances WHERE org = {_} AND {among}"
    lock = "" if tx.sqlite else " ORDER BY account, currency FOR UPDATE"
    for account, currency, debt in bulk.among(tx, "account", accounts, (tx.org,), query + lock):
        if standing := standings.get((account, currency)):
            standing.debt = debt
    for account, currency, grant in _grants(tx, accounts):
        if standing := standings.get((account, currency)):
            standing.grants[grant.id] = grant
    return standings


def save(tx: Tx, standings: Iterable[Standing]) -> None:
    """Write the snapshots of standings that were changed."""
    standings = sorted(standings, key=lambda s: (s.account, s.currency))
    rows = [(tx.org, s.account, s.currency, s.balance, s.debt) for s in standings]
    bulk.replace(tx, tables.account_balances, _COLUMNS, rows)
    left: list[tuple[Any, ...]] = []
    gone: list[str] = []
    for standing in standings:
        for id in standing.changed:
            grant = standing.grants.get(id)
            if grant is None:
                gone.append(id)
            else:
                left.append((tx.org, standing.account, id, grant.remaining, grant.expires_at_us))
        standing.changed.clear()
    bulk.replace(tx, tables.grant_balances, ("org", "account", "grant", "remaining", "expires_at_us"), left)
    if gone:
        bulk.among(tx, '"grant"', gone, (tx.org,), "DELETE FROM grant_balances WHERE org = {_} AND {among}")


def _grants(tx: Tx, accounts: Sequence[str]) -> Iterable[tuple[str, str, Grant]]:
    # Two look-ups and no join: for a table that has just grown, PostgreSQL may plan one that compares every
    # grant with every other.
    kept = 'SELECT "grant", remaining FROM grant_balances WHERE org = {_} AND {among}'
    left = {row.grant: row.remaining for row in bulk.among(tx, "account", accounts, (tx.org,), kept)}
    fixed = (
        "SELECT id, account, currency, priority, expires_at_us, promotional, effective_at_us FROM grants"
        " WHERE org = {_} AND {among}"
    )
    found = bulk.among(tx, "id", list(left), (tx.org,), fixed)
    for id, account, currency, priority, expires, promotional, effective in found:
        yield account, currency, Grant(id, left[id], priority, expires, bool(promotional), effective)
