"""Credits given: bought, promotional, included. A grant happens once per id, and ends at its expiry."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from metergate.core.grants import Grant
from metergate.core.money import MAX, as_json
from metergate.core.periods import rfc3339
from metergate.errors import InvalidInput
from metergate.ledger import accounts, bulk, notices, tables
from metergate.ledger.balances import ensure_snapshots
from metergate.ledger.database import Row, Select, Tx
from metergate.ledger.errors import Conflict
from metergate.ledger.standing import hold_still, save
from metergate.ledger.transactions import Transaction, record, reserve


class GrantRow(NamedTuple):
    """A grant as it was given; what is left of it is in `balances.grants_left`."""

    seq: int
    id: str
    account: str
    currency: str
    amount: int
    priority: int
    promotional: bool
    effective_at_us: int
    expires_at_us: int | None
    memo: str
    created_at_us: int


class Given(NamedTuple):
    grant: GrantRow
    delta: int
    """What the balance gained by this grant, when it was given."""
    repeated: bool


class Expired(NamedTuple):
    account: str
    grant: str
    amount: int


def give(
    tx: Tx,
    account: str,
    amount: int,
    *,
    id: str,
    at_us: int,
    expires_at_us: int | None = None,
    promotional: bool = False,
    priority: int = 50,
    memo: str = "",
    kind: str = "grant",
) -> Given:
    """Give credits in the account's currency, once per id; recorded debt is paid from them first."""
    owner = accounts.known(tx, account)
    if not id or not 0 < amount <= MAX:
        raise InvalidInput("Give a grant an id and an amount above zero that fits in 64 bits.")
    purse = (account, owner.currency)
    standing = hold_still(tx, [purse])[purse]
    terms = (account, owner.currency, amount, priority, promotional, expires_at_us, memo)
    earlier = get(tx, id)
    if earlier is not None:
        if _terms(earlier) != terms:
            raise Conflict(f"The grant {id} was given with other contents: use another id.")
        return Given(earlier, amount, repeated=True)
    if expires_at_us is not None and expires_at_us <= at_us:
        raise InvalidInput("Let a grant expire later than now.")
    if standing.balance + amount > MAX:
        raise InvalidInput("Give less: the account would hold more than 64 bits can count.")
    made = _insert(tx, id, terms, at_us)
    lines = standing.give(Grant(id, amount, priority, expires_at_us, promotional, at_us))
    digest = hashlib.sha256(json.dumps(terms).encode()).hexdigest()
    record(tx, [(Transaction(reserve(tx, 1)[0], f"grant:{id}", kind, account, at_us, digest), lines)])
    save(tx, [standing])
    if kind == "grant":
        _tell(tx, made)
    return Given(made, amount, repeated=False)


def expire_due(tx: Tx, now_us: int) -> list[Expired]:
    """Take away what is left of the grants whose time is over.

    Post the usage of before first: a call that comes later finds nothing left of the grant.
    """
    ensure_snapshots(tx)
    kept = tables.grant_balances.c
    over = sa.and_(kept.org == tx.org, kept.expires_at_us <= now_us)
    owners = {row.account for row in tx.execute(sa.select(kept.account).where(over))}
    if not owners:
        return []
    currencies = tables.grants.c
    query = sa.select(currencies.account, currencies.currency).distinct()
    purses = tx.execute(query.where(currencies.org == tx.org, currencies.account.in_(owners)))
    standings = hold_still(tx, [(account, currency) for account, currency in purses])
    due = [
        (standing, grant)
        for _, standing in sorted(standings.items())
        for grant in sorted(standing.grants.values(), key=lambda grant: grant.id)
        if grant.expires_at_us is not None and grant.expires_at_us <= now_us
    ]
    written = []
    for seq, (standing, grant) in zip(reserve(tx, len(due)), due, strict=True):
        head = Transaction(
            seq, f"expire:{grant.id}", "expire", standing.account, now_us, str(grant.remaining)
        )
        written.append((head, standing.expire(grant.id)))
    record(tx, written)
    save(tx, {id(standing): standing for standing, _ in due}.values())
    return [Expired(standing.account, grant.id, grant.remaining) for standing, grant in due]


def next_expiry_us(tx: Tx) -> int | None:
    """When the next grant with something left ends."""
    kept = tables.grant_balances.c
    value = tx.execute(sa.select(sa.func.min(kept.expires_at_us)).where(kept.org == tx.org)).scalar()
    return None if value is None else int(value)


def get(tx: Tx, id: str) -> GrantRow | None:
    row = tx.execute(_select(tx).where(tables.grants.c.id == id)).first()
    return _row(row) if row else None


def page(tx: Tx, account: str | None = None, limit: int = 100, after: int = 0) -> list[GrantRow]:
    """The newest first; `after` is the `seq` of the last one seen."""
    query = _select(tx)
    if account is not None:
        query = query.where(tables.grants.c.account == account)
    if after:
        query = query.where(tables.grants.c.seq < after)
    return [_row(row) for row in tx.execute(query.order_by(tables.grants.c.seq.desc()).limit(limit))]


def _insert(tx: Tx, id: str, terms: tuple[Any, ...], at_us: int) -> GrantRow:
    account, currency, amount, priority, promotional, expires_at_us, memo = terms
    row = (account, currency, amount, priority, promotional, at_us, expires_at_us, memo, at_us)
    if not bulk.insert(
        tx, tables.grants, ("org", *GrantRow._fields[1:]), [(tx.org, id, *row)], "ON CONFLICT DO NOTHING"
    ):
        raise Conflict(f"The grant {id} was given at the same moment with other contents: use another id.")
    made = get(tx, id)
    assert made is not None
    return made


def _tell(tx: Tx, made: GrantRow) -> None:
    told = {
        "grant": made.id,
        "amount": as_json(made.amount, made.currency),
        "promotional": made.promotional,
        "expires_at": rfc3339(made.expires_at_us) if made.expires_at_us else None,
        "memo": made.memo,
    }
    notices.tell(tx, "credits.granted", made.account, told, made.created_at_us, made.id)


def _terms(grant: GrantRow) -> tuple[Any, ...]:
    return (*grant[2:7], grant.expires_at_us, grant.memo)


def _select(tx: Tx) -> Select:
    columns: Sequence[sa.Column[Any]] = [tables.grants.c[name] for name in GrantRow._fields]
    return sa.select(*columns).where(tables.grants.c.org == tx.org)


def _row(row: Row) -> GrantRow:
    grant = GrantRow(*row)
    return grant._replace(promotional=bool(grant.promotional))
