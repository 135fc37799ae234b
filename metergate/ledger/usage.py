"""What was used: one row per settled call."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from metergate.ledger import bulk, sums
from metergate.ledger.database import Row, Select, Tx
from metergate.ledger.tables import usage


class UsageRow(NamedTuple):
    seq: int
    id: str
    request_id: str
    account: str
    key: str
    service: str
    route: str
    path: str
    meter: str
    units: int
    dimensions: Mapping[str, str]
    cost: int
    currency: str
    measured: str
    plan: str
    policy: str
    budgets: list[tuple[str, int, int]]
    at_us: int
    transaction: int | None


class Total(NamedTuple):
    meter: str
    currency: str
    calls: int
    units: int
    cost: int


def rows(
    tx: Tx,
    account: str | None = None,
    *,
    limit: int = 100,
    after: int = 0,
    since_us: int | None = None,
    until_us: int | None = None,
) -> list[UsageRow]:
    """The newest posted first; `after` is the `seq` of the last one seen."""
    query = _select(tx, account, since_us, until_us)
    if after:
        query = query.where(usage.c.seq < after)
    return [_row(row) for row in tx.execute(query.order_by(usage.c.seq.desc()).limit(limit))]


def get(tx: Tx, id: str) -> UsageRow | None:
    row = tx.execute(_select(tx).where(usage.c.id == id)).first()
    return _row(row) if row else None


def known(tx: Tx, ids: Sequence[str]) -> set[str]:
    """Which of these calls the ledger has."""
    return set(
        bulk.among(tx, "id", ids, (tx.org,), "SELECT id FROM usage WHERE org = {_} AND {among}").scalars()
    )


def of_request(tx: Tx, request_id: str) -> list[UsageRow]:
    """Everything that one request was charged for, in order."""
    others = _select(tx).where(usage.c.request_id == request_id, sa.text("request_id <> id"))
    found = [_row(row) for row in tx.execute(others.order_by(usage.c.seq))]
    first = get(tx, request_id)
    return [first, *found] if first else found


def totals(
    tx: Tx, account: str | None, since_us: int | None = None, until_us: int | None = None
) -> list[Total]:
    """What was used of each meter in the half-open period."""
    grouped = (usage.c.meter, usage.c.currency)
    columns = (*grouped, sa.func.count(), *sums.halves(usage.c.units), *sums.halves(usage.c.cost))
    query = _select(tx, account, since_us, until_us).with_only_columns(*columns)
    found = tx.execute(query.group_by(*grouped).order_by(*grouped))
    return [
        Total(meter, currency, calls, sums.whole(*halves[:2]), sums.whole(*halves[2:]))
        for meter, currency, calls, *halves in found
    ]


def _select(
    tx: Tx, account: str | None = None, since_us: int | None = None, until_us: int | None = None
) -> Select:
    query = sa.select(*(usage.c[name] for name in UsageRow._fields)).where(usage.c.org == tx.org)
    if account is not None:
        query = query.where(usage.c.account == account)
    if since_us is not None:
        query = query.where(usage.c.at_us >= since_us)
    if until_us is not None:
        query = query.where(usage.c.at_us < until_us)
    return query


def _row(row: Row) -> UsageRow:
    found = UsageRow(*row)
    budgets = [(name, amount, until_us) for name, amount, until_us in json.loads(row.budgets)]
    return found._replace(dimensions=json.loads(row.dimensions), budgets=budgets)
