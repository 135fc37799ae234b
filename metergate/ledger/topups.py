"""Top-ups by themselves as rows: what an account wants, and the one payment that is in flight for it."""

from typing import Any, NamedTuple

import sqlalchemy as sa

from metergate.ledger import bulk
from metergate.ledger.database import Select, Tx
from metergate.ledger.tables import account_balances, accounts
from metergate.ledger.watch_tables import top_ups

ON, OFF, STOPPED = "on", "off", "stopped"


class TopUp(NamedTuple):
    account: str
    state: str
    """on, off (somebody switched it off) or stopped (it failed, and somebody has to act)."""
    threshold: int
    amount: int
    """Nanos of credits, for as much money; 0 where a pack is bought."""
    pack: str
    monthly_cap: int
    """The most that is paid in a calendar month, in nanos; 0 is no cap."""
    method: str
    """The kept payment method; empty is the first that the provider knows."""
    round: int = 0
    """How many payments were begun."""
    payment: str = ""
    """The one in flight; while it stands here no other is begun."""
    terms: str = "{}"
    """What the payment in flight is for, as JSON: whoever goes on with it asks for the same."""
    declines: int = 0
    tries: int = 0
    next_at_us: int = 0
    """Nobody looks at it before."""
    window_us: int = 0
    spent: int = 0
    """What was paid in the month that began then, with what is in flight."""
    reason: str = ""
    updated_at_us: int = 0


def get(tx: Tx, account: str, *, lock: bool = False) -> TopUp | None:
    query = _select(tx).where(top_ups.c.account == account)
    row = tx.execute(query.with_for_update() if lock else query).first()
    return TopUp(*row) if row else None


def put(tx: Tx, row: TopUp) -> None:
    bulk.replace(tx, top_ups, ("org", *TopUp._fields), [(tx.org, *row)])


def change(tx: Tx, account: str, **values: Any) -> None:
    own = (top_ups.c.org == tx.org, top_ups.c.account == account)
    tx.execute(top_ups.update().where(*own).values(**values))


def due(tx: Tx, now_us: int, limit: int) -> list[str]:
    """Accounts with a payment in flight to look after, and those that have fallen below their threshold."""
    kept = account_balances.c
    balance = (
        sa.select(kept.balance)
        .where(kept.org == tx.org, kept.account == accounts.c.id, kept.currency == accounts.c.currency)
        .scalar_subquery()
    )
    below = sa.and_(
        top_ups.c.state == ON,
        accounts.c.suspended == sa.false(),
        sa.func.coalesce(balance, 0) < top_ups.c.threshold,
    )
    same = sa.and_(accounts.c.org == top_ups.c.org, accounts.c.id == top_ups.c.account)
    query = sa.select(top_ups.c.account).select_from(top_ups.join(accounts, same))
    waiting = (top_ups.c.org == tx.org, top_ups.c.next_at_us <= now_us)
    found = query.where(*waiting, sa.or_(top_ups.c.payment != "", below))
    return list(tx.execute(found.order_by(top_ups.c.next_at_us).limit(limit)).scalars())


def page(tx: Tx, state: str | None = None, limit: int = 100, after: str = "") -> list[TopUp]:
    """In the order of the accounts' ids."""
    query = _select(tx).where(top_ups.c.account > after)
    if state is not None:
        query = query.where(top_ups.c.state == state)
    return [TopUp(*row) for row in tx.execute(query.order_by(top_ups.c.account).limit(limit))]


def _select(tx: Tx) -> Select:
    return sa.select(*(top_ups.c[name] for name in TopUp._fields)).where(top_ups.c.org == tx.org)
