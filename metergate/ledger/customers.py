"""Accounts as providers know them. One that is moved keeps its old row, with the day on which it ended."""

from typing import NamedTuple

import sqlalchemy as sa

from metergate.ledger import bulk
from metergate.ledger.database import Select, Tx
from metergate.ledger.errors import Conflict
from metergate.ledger.payment_tables import customers


class Customer(NamedTuple):
    seq: int
    account: str
    provider: str
    external_id: str
    since_us: int
    until_us: int | None


def put(tx: Tx, account: str, provider: str, external_id: str, now_us: int) -> None:
    """Say what a provider calls an account from now on."""
    known = named(tx, provider, external_id)
    if known is not None and known.account != account:
        raise Conflict(f"{provider} knows {external_id} as the account {known.account}.")
    mine = (customers.c.org == tx.org, customers.c.provider == provider)
    current = (*mine, customers.c.account == account, customers.c.until_us.is_(None))
    tx.execute(
        customers.update().where(*current, customers.c.external_id != external_id).values(until_us=now_us)
    )
    columns = ("org", "account", "provider", "external_id", "since_us")
    row = (tx.org, account, provider, external_id, now_us)
    bulk.insert(tx, customers, columns, [row], "ON CONFLICT DO NOTHING")
    tx.execute(customers.update().where(*mine, customers.c.external_id == external_id).values(until_us=None))


def current(tx: Tx, account: str, provider: str) -> Customer | None:
    """What the provider calls the account now."""
    query = _select(tx).where(customers.c.account == account, customers.c.provider == provider)
    return _first(tx, query.where(customers.c.until_us.is_(None)))


def named(tx: Tx, provider: str, external_id: str) -> Customer | None:
    return _first(
        tx, _select(tx).where(customers.c.provider == provider, customers.c.external_id == external_id)
    )


def of(tx: Tx, account: str) -> list[Customer]:
    """Every name that the account ever had at providers."""
    rows = tx.execute(_select(tx).where(customers.c.account == account).order_by(customers.c.seq))
    return [Customer(*row) for row in rows]


def _select(tx: Tx) -> Select:
    return sa.select(*(customers.c[name] for name in Customer._fields)).where(customers.c.org == tx.org)


def _first(tx: Tx, query: Select) -> Customer | None:
    row = tx.execute(query).first()
    return Customer(*row) if row else None
