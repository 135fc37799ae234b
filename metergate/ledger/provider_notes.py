"""Small texts that adapters keep, by provider and name."""

from collections.abc import Mapping

import sqlalchemy as sa

from metergate.ledger import bulk
from metergate.ledger.database import Tx
from metergate.ledger.payment_tables import provider_notes as notes

_COLUMNS = ("org", "provider", "name", "text")


def read(tx: Tx, provider: str, name: str) -> str | None:
    found = tx.execute(sa.select(notes.c.text).where(*_is(tx, provider), notes.c.name == name)).scalar()
    return None if found is None else str(found)


def take(tx: Tx, provider: str, name: str, text: str) -> bool:
    row = (tx.org, provider, name, text)
    return bool(bulk.insert(tx, notes, _COLUMNS, [row], "ON CONFLICT DO NOTHING"))


def write(tx: Tx, provider: str, name: str, text: str) -> None:
    bulk.replace(tx, notes, _COLUMNS, [(tx.org, provider, name, text)])


def forget(tx: Tx, provider: str, name: str) -> None:
    tx.execute(notes.delete().where(*_is(tx, provider), notes.c.name == name))


def listed(tx: Tx, provider: str, prefix: str) -> Mapping[str, str]:
    query = sa.select(notes.c.name, notes.c.text).where(*_is(tx, provider))
    found = query.where(notes.c.name.startswith(prefix, autoescape=True)).order_by(notes.c.name)
    return {row[0]: row[1] for row in tx.execute(found)}


def _is(tx: Tx, provider: str) -> tuple[sa.ColumnElement[bool], ...]:
    return notes.c.org == tx.org, notes.c.provider == provider
