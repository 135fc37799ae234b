"""Subscriptions and invoices of providers as rows, as the providers last said that they are."""

from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa

from metergate.ledger.database import Tx
from metergate.ledger.payment_tables import provider_invoices, subscriptions


class Subscription(NamedTuple):
    id: str
    account: str
    provider: str
    external_id: str | None
    plan: str
    state: str
    live: bool
    period_start_us: int
    period_end_us: int
    ends: bool
    created_at_us: int
    updated_at_us: int


class ProviderInvoice(NamedTuple):
    account: str
    provider: str
    external_id: str
    invoice: str
    subscription: str
    state: str
    live: bool
    currency: str
    minor: int
    paid_minor: int
    url: str
    reason: str
    created_at_us: int
    updated_at_us: int


def put(tx: Tx, row: Subscription) -> bool:
    """Write a subscription, or what it has become; False where somebody has asked for it later."""
    known = named(tx, row.provider, row.external_id or "")
    if known is None:
        tx.execute(subscriptions.insert().values(org=tx.org, metadata="{}", **row._asdict()))
        return True
    return _change(tx, subscriptions, row)


def put_invoice(tx: Tx, row: ProviderInvoice) -> bool:
    """The same for an invoice of a provider."""
    if invoice(tx, row.provider, row.external_id) is None:
        tx.execute(provider_invoices.insert().values(org=tx.org, **row._asdict()))
        return True
    return _change(tx, provider_invoices, row)


def invoice(tx: Tx, provider: str, external_id: str) -> ProviderInvoice | None:
    columns = [provider_invoices.c[name] for name in ProviderInvoice._fields]
    query = sa.select(*columns).where(*_is(tx, provider_invoices, provider, external_id))
    row = tx.execute(query).first()
    return ProviderInvoice(*row) if row else None


def named(tx: Tx, provider: str, external_id: str) -> Subscription | None:
    columns = [subscriptions.c[name] for name in Subscription._fields]
    query = sa.select(*columns).where(*_is(tx, subscriptions, provider, external_id))
    row = tx.execute(query).first()
    return Subscription(*row) if row else None


def get(tx: Tx, id: str) -> Subscription | None:
    """By our id, which is that of the payment that it began with."""
    columns = [subscriptions.c[name] for name in Subscription._fields]
    row = tx.execute(
        sa.select(*columns).where(subscriptions.c.org == tx.org, subscriptions.c.id == id)
    ).first()
    return Subscription(*row) if row else None


def paid_plan(tx: Tx, account: str, states: Collection[str]) -> str:
    """The plan of the newest of an account's subscriptions in these states; empty where there is none."""
    mine = (subscriptions.c.org == tx.org, subscriptions.c.account == account)
    query = sa.select(subscriptions.c.plan).where(*mine, subscriptions.c.state.in_(states))
    newest = (subscriptions.c.created_at_us.desc(), subscriptions.c.seq.desc())
    return tx.execute(query.order_by(*newest).limit(1)).scalar() or ""


def outdone(tx: Tx, paid: Collection[str], renewing: Collection[str], limit: int) -> list[Subscription]:
    """Those of plans that would be renewed although their account pays for a newer one."""
    newer = subscriptions.alias("newer")
    later = sa.or_(
        newer.c.created_at_us > subscriptions.c.created_at_us,
        sa.and_(newer.c.created_at_us == subscriptions.c.created_at_us, newer.c.seq > subscriptions.c.seq),
    )
    same = [newer.c[name] == subscriptions.c[name] for name in ("org", "account", "live")]
    newer_is_there = sa.exists().where(*same, newer.c.plan != "", newer.c.state.in_(paid), later)
    columns = [subscriptions.c[name] for name in Subscription._fields]
    query = sa.select(*columns).where(
        subscriptions.c.org == tx.org,
        subscriptions.c.state.in_(renewing),
        subscriptions.c.plan != "",
        newer_is_there,
        ~subscriptions.c.ends,
    )
    return [
        Subscription(*row) for row in tx.execute(query.order_by(subscriptions.c.updated_at_us).limit(limit))
    ]


def over(tx: Tx, before_us: int, limit: int) -> list[Subscription]:
    """Those that have not ended, whose period was over before an instant, and nobody has asked since."""
    columns = [subscriptions.c[name] for name in Subscription._fields]
    query = sa.select(*columns).where(
        subscriptions.c.org == tx.org,
        subscriptions.c.state != "canceled",
        subscriptions.c.period_end_us < before_us,
        subscriptions.c.updated_at_us <= before_us,
    )
    return [
        Subscription(*row) for row in tx.execute(query.order_by(subscriptions.c.updated_at_us).limit(limit))
    ]


def asked(tx: Tx, id: str, now_us: int) -> None:
    """Somebody asks for it now, whatever the answer will be."""
    which = (subscriptions.c.org == tx.org, subscriptions.c.id == id)
    tx.execute(subscriptions.update().where(*which).values(updated_at_us=now_us))


def _change(tx: Tx, table: sa.Table, row: Subscription | ProviderInvoice) -> bool:
    """What was asked for earlier says nothing any more: two who asked may tell in the other order."""
    kept = ("id", "account", "created_at_us")
    changed = {name: value for name, value in row._asdict().items() if name not in kept}
    where = (*_is(tx, table, row.provider, row.external_id), table.c.updated_at_us <= row.updated_at_us)
    return tx.execute(table.update().where(*where).values(changed)).rowcount > 0


def _is(tx: Tx, table: sa.Table, provider: str, external_id: str | None) -> tuple[Any, ...]:
    return table.c.org == tx.org, table.c.provider == provider, table.c.external_id == external_id
