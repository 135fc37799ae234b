"""Payments as rows: made with an id of ours before the provider hears of them, and moved by what it says."""

from typing import Any, NamedTuple

import sqlalchemy as sa

from metergate.ledger import bulk
from metergate.ledger.database import Select, Tx
from metergate.ledger.payment_tables import payments


class Payment(NamedTuple):
    seq: int
    id: str
    account: str
    provider: str
    external_id: str | None
    checkout_id: str | None
    kind: str
    state: str
    live: bool
    currency: str
    minor: int
    """What is to be paid, in the currency's smallest unit."""
    paid_minor: int
    credits: int
    """What the account gets for it, in nanos."""
    subject: str
    """The plan or the invoice that it pays, or the pack."""
    description: str
    customer: str
    method: str
    """What it was paid with, as JSON; empty where nobody knows."""
    url: str
    details: str
    terms: str
    """What was asked for, as JSON: the same id with other terms is a conflict."""
    reason: str
    mismatch: str
    """Why what the provider says is not believed; nothing is granted while it stands here."""
    capturable: bool
    unknown: bool
    """Whether the provider was asked, or was about to be, and has not answered."""
    created_at_us: int
    updated_at_us: int
    look_at_us: int | None
    """When to ask the provider again; None when there is nothing more to expect."""


def insert(tx: Tx, payment: Payment) -> bool:
    """Write a new payment; False where its id is known."""
    columns = ("org", *Payment._fields[1:])  # its number is given by the database
    row = (tx.org, *payment[1:])
    return bulk.insert(tx, payments, columns, [row], "ON CONFLICT DO NOTHING") == 1


def get(tx: Tx, id: str, *, lock: bool = False) -> Payment | None:
    """A payment; locked until the transaction ends, for those that move it."""
    query = _select(tx).where(payments.c.id == id)
    return _first(tx, query.with_for_update() if lock else query)


def named(tx: Tx, provider: str, name: str) -> Payment | None:
    """The payment that a provider calls by this name."""
    called = sa.or_(payments.c.external_id == name, payments.c.checkout_id == name)
    return _first(tx, _select(tx).where(payments.c.provider == provider, called))


def page(tx: Tx, account: str | None = None, limit: int = 100, after: int = 0) -> list[Payment]:
    """The newest first; `after` is the `seq` of the last one seen."""
    query = _select(tx)
    if account is not None:
        query = query.where(payments.c.account == account)
    if after:
        query = query.where(payments.c.seq < after)
    return [_row(row) for row in tx.execute(query.order_by(payments.c.seq.desc()).limit(limit))]


def due(tx: Tx, now_us: int, limit: int) -> list[Payment]:
    """Payments whose provider is to be asked again."""
    query = _select(tx).where(payments.c.look_at_us <= now_us).order_by(payments.c.look_at_us)
    return [_row(row) for row in tx.execute(query.limit(limit))]


def change(tx: Tx, id: str, **values: Any) -> None:
    tx.execute(payments.update().where(payments.c.org == tx.org, payments.c.id == id).values(**values))


def _select(tx: Tx) -> Select:
    columns = [payments.c[name] for name in Payment._fields]
    return sa.select(*columns).where(payments.c.org == tx.org)


def _first(tx: Tx, query: Select) -> Payment | None:
    row = tx.execute(query).first()
    return _row(row) if row else None


def _row(row: Any) -> Payment:
    found = Payment(*row)
    return found._replace(
        live=bool(found.live), capturable=bool(found.capturable), unknown=bool(found.unknown)
    )
