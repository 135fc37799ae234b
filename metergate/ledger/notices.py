"""What is told to others. A notice is written in the transaction that does what it tells, and not changed.

It is written for the endpoints that want it, with a delivery for each; where nobody wants it, nothing is.
Its id is made from what it tells, so that nothing is told under two ids.
"""

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from metergate.core.periods import rfc3339
from metergate.ledger import bulk
from metergate.ledger.database import Tx
from metergate.ledger.endpoints import FAILING, GIVEN_UP, OFF
from metergate.ledger.notice_tables import attempts, deliveries, endpoints, notices

TYPES: Final[Mapping[str, str]] = {
    "payment.succeeded": "A payment came in.",
    "payment.failed": "A payment failed or was given up.",
    "payment.refunded": "A refund has come to its end, of all or a part.",
    "payment.disputed": "A dispute of a payment was opened, won or lost.",
    "credits.granted": "An account was given credits: bought, promotional or included.",
    "credits.low": "The balance of an account fell below one of its thresholds.",
    "spend.threshold": "An account spent more in a period than one of its thresholds.",
    "topup.started": "A top-up by itself was begun.",
    "topup.failed": "A top-up by itself failed; `stopped` says whether somebody has to act.",
    "plan.changed": "An account is on another plan.",
    "subscription.changed": "A provider's subscription is in another state, or for another plan.",
    "invoice.changed": "A provider's invoice is in another state, was not paid, or waits for its payer.",
    "key.revoked": "A key was ended for good.",
    "account.suspended": "An account was stopped.",
    "account.resumed": "An account may call again.",
    "endpoint.test": "Somebody wants to see whether notices arrive.",
}
"""Every type of notice, and when it is told."""


DELIVERY: Final = (
    *("org", "endpoint", "notice", "tries", "next_at_us", "status", "at_us"),
    *("state", "detail", "ended_at_us"),
)


class Notice(NamedTuple):
    seq: int
    id: str
    """The header webhook-id, the same at every attempt."""
    type: str
    account: str
    body: str
    at_us: int


def tell(
    tx: Tx,
    type: str,
    account: str,
    data: Mapping[str, Any],
    now_us: int,
    cause: str,
    *,
    only: str = "",
) -> bool:
    """Have it told, once per type and cause; whether anybody wants it. `only` names the one endpoint."""
    assert type in TYPES, f"{type} is not listed"
    wanting = _wanting(tx, type, only)
    if not wanting:
        return False
    id = "msg_" + hashlib.sha256(f"{type}\n{cause}".encode()).hexdigest()[:32]
    body = json.dumps(
        {"type": type, "timestamp": rfc3339(now_us), "data": {"account": account, **data}},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    columns = ("org", "id", "type", "account", "body", "at_us")
    row = (tx.org, id, type, account, body, now_us)
    if not bulk.insert(tx, notices, columns, [row], "ON CONFLICT DO NOTHING"):
        return True
    told = [_delivery(tx.org, endpoint, state, id, now_us) for endpoint, state in wanting]
    bulk.insert(tx, deliveries, DELIVERY, told, "ON CONFLICT DO NOTHING")
    return True


def _delivery(org: int, endpoint: str, state: str, notice: str, now_us: int) -> tuple[object, ...]:
    """What comes for one that was switched off because it failed is in its log, and does not wait."""
    off = state == FAILING
    how = ("dead", GIVEN_UP, now_us) if off else ("waiting", "", None)
    return (org, endpoint, notice, 0, now_us, 0, now_us, *how)


def page(
    tx: Tx, account: str | None = None, type: str | None = None, limit: int = 100, after: int = 0
) -> list[Notice]:
    """The newest first; `after` is the `seq` of the last one seen."""
    query = sa.select(*(notices.c[name] for name in Notice._fields)).where(notices.c.org == tx.org)
    if account is not None:
        query = query.where(notices.c.account == account)
    if type is not None:
        query = query.where(notices.c.type == type)
    if after:
        query = query.where(notices.c.seq < after)
    return [Notice(*row) for row in tx.execute(query.order_by(notices.c.seq.desc()).limit(limit))]


def get(tx: Tx, id: str) -> Notice | None:
    columns = [notices.c[name] for name in Notice._fields]
    row = tx.execute(sa.select(*columns).where(notices.c.org == tx.org, notices.c.id == id)).first()
    return Notice(*row) if row else None


def forget(tx: Tx, before_us: int, limit: int = 1000) -> int:
    """Forget what was told long ago, with its log. What still waits stays."""
    waiting = sa.exists().where(
        deliveries.c.org == notices.c.org,
        deliveries.c.notice == notices.c.id,
        deliveries.c.state == "waiting",
    )
    old = sa.select(notices.c.id).where(notices.c.org == tx.org, notices.c.at_us < before_us, ~waiting)
    ids = list(tx.execute(old.limit(limit)).scalars())
    if not ids:
        return 0
    gone = (deliveries.c.org == tx.org, deliveries.c.notice.in_(ids))
    seqs = sa.select(deliveries.c.seq).where(*gone)
    tx.execute(attempts.delete().where(attempts.c.org == tx.org, attempts.c.delivery.in_(seqs)))
    tx.execute(deliveries.delete().where(*gone))
    tx.execute(notices.delete().where(notices.c.org == tx.org, notices.c.id.in_(ids)))
    return len(ids)


def wants(types: str, type: str) -> bool:
    """Whether an endpoint with these patterns wants notices of a type."""
    return any(fnmatch.fnmatchcase(type, pattern) for pattern in json.loads(types))


def _wanting(tx: Tx, type: str, only: str) -> list[tuple[str, str]]:
    """Who wants it, and in which state it is; one that an operator has switched off wants nothing."""
    which = endpoints.c.id == only if only else endpoints.c.state != OFF
    query = sa.select(endpoints.c.id, endpoints.c.state, endpoints.c.types).where(
        endpoints.c.org == tx.org, which
    )
    rows = tx.execute(query.order_by(endpoints.c.seq))
    return [(id, state) for id, state, types in rows if only or wants(types, type)]
