"""Who did what, for ever: the rows can only be added."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from metergate.ledger.database import Tx
from metergate.ledger.tables import audit


class AuditRow(NamedTuple):
    seq: int
    at_us: int
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]


def note(
    tx: Tx, at_us: int, actor: str, action: str, subject: str, details: Mapping[str, Any] | None = None
) -> None:
    """Write down an action in the transaction that does it."""
    tx.execute(
        audit.insert().values(
            org=tx.org,
            at_us=at_us,
            actor=actor,
            action=action,
            subject=subject,
            details=json.dumps(details or {}),
        )
    )


def page(tx: Tx, subject: str | None = None, limit: int = 100, after: int = 0) -> list[AuditRow]:
    """The newest first; `after` is the `seq` of the last one seen."""
    query = sa.select(*(audit.c[name] for name in AuditRow._fields)).where(audit.c.org == tx.org)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    if after:
        query = query.where(audit.c.seq < after)
    found = tx.execute(query.order_by(audit.c.seq.desc()).limit(limit))
    return [AuditRow(*row)._replace(details=json.loads(row.details)) for row in found]
