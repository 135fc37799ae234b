"""Deliveries: which notice goes to which endpoint, what became of each attempt, and what is tried again."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from metergate.ledger.database import Select, Tx
from metergate.ledger.endpoints import GIVEN_UP, ON
from metergate.ledger.notice_tables import attempts, deliveries, endpoints, notices

WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"
LEASE_US: Final = 60 * 10**6
"""How long whoever takes a delivery may need for it, before somebody else does."""


class Delivery(NamedTuple):
    seq: int
    endpoint: str
    notice: str
    type: str
    account: str
    body: str
    state: str
    tries: int
    next_at_us: int
    status: int
    """What the receiver answered the last time; 0 where it did not."""
    detail: str
    at_us: int
    ended_at_us: int | None


class Attempt(NamedTuple):
    seq: int
    at_us: int
    took_us: int
    status: int
    detail: str


def due(tx: Tx, now_us: int) -> list[str]:
    """The endpoints that are on and for which something waits."""
    waiting = sa.exists().where(
        deliveries.c.org == endpoints.c.org,
        deliveries.c.endpoint == endpoints.c.id,
        deliveries.c.state == WAITING,
        deliveries.c.next_at_us <= now_us,
    )
    query = sa.select(endpoints.c.id).where(
        endpoints.c.org == tx.org, endpoints.c.state == ON, endpoints.c.pause_until_us <= now_us, waiting
    )
    return list(tx.execute(query.order_by(endpoints.c.seq)).scalars())


def take(tx: Tx, endpoint: str, now_us: int, limit: int) -> list[Delivery]:
    """The oldest that wait for an endpoint. Nobody else takes them for a while; who dies leaves them."""
    ready = (deliveries.c.endpoint == endpoint, deliveries.c.state == WAITING)
    query = sa.select(deliveries.c.seq).where(
        deliveries.c.org == tx.org, *ready, deliveries.c.next_at_us <= now_us
    )
    locked = query.order_by(deliveries.c.seq).limit(limit).with_for_update(skip_locked=True)
    seqs = list(tx.execute(locked).scalars())
    lease = {"next_at_us": now_us + LEASE_US}
    tx.execute(
        deliveries.update().where(deliveries.c.org == tx.org, deliveries.c.seq.in_(seqs)).values(lease)
    )
    rows = tx.execute(_select(tx).where(deliveries.c.seq.in_(seqs)).order_by(deliveries.c.seq))
    return [Delivery(*row) for row in rows]


def tried(tx: Tx, seq: int, attempt: Attempt, **values: Any) -> bool:
    """Log an attempt, and change the delivery; False where it has come to its end meanwhile."""
    told = attempt._asdict()
    del told["seq"]
    tx.execute(attempts.insert().values(org=tx.org, delivery=seq, **told))
    # What was given up while it was on its way, and arrived, has arrived.
    ended = (DELIVERED,) if values.get("state") == DELIVERED else (DELIVERED, DEAD)
    open_still = (deliveries.c.seq == seq, deliveries.c.state.not_in(ended))
    last = {"status": attempt.status, "detail": attempt.detail, "tries": deliveries.c.tries + 1}
    changed = deliveries.update().where(deliveries.c.org == tx.org, *open_still).values({**last, **values})
    return tx.execute(changed).rowcount == 1


def give_up(tx: Tx, endpoint: str, now_us: int) -> int:
    """Nothing waits any more for an endpoint that was switched off; how much did."""
    waiting = (deliveries.c.endpoint == endpoint, deliveries.c.state == WAITING)
    values = {"state": DEAD, "detail": GIVEN_UP, "ended_at_us": now_us}
    return tx.execute(deliveries.update().where(deliveries.c.org == tx.org, *waiting).values(values)).rowcount


def hurry(tx: Tx, endpoint: str, now_us: int) -> int:
    """Try now what an endpoint could not take while it was away; not what it said no to."""
    away = sa.or_(deliveries.c.status == 0, deliveries.c.status >= 500)
    which = (deliveries.c.endpoint == endpoint, deliveries.c.state == WAITING, away)
    return _again(tx, now_us, which, tries=None)


def replay(
    tx: Tx,
    now_us: int,
    *,
    seq: int | None = None,
    endpoint: str | None = None,
    state: str | None = None,
    since_us: int = 0,
) -> int:
    """Deliver once more, with the ids and the bodies that they had; how many. What is not named is any."""
    named = {"seq": seq, "endpoint": endpoint, "state": state}
    which = [deliveries.c[name] == value for name, value in named.items() if value is not None]
    return _again(tx, now_us, (*which, deliveries.c.at_us >= since_us), tries=0)


def _again(tx: Tx, now_us: int, which: tuple[sa.ColumnElement[bool], ...], tries: int | None) -> int:
    values: dict[str, Any] = {"state": WAITING, "next_at_us": now_us, "ended_at_us": None}
    if tries is not None:
        values["tries"] = tries
    return tx.execute(deliveries.update().where(deliveries.c.org == tx.org, *which).values(values)).rowcount


def get(tx: Tx, seq: int) -> Delivery | None:
    row = tx.execute(_select(tx).where(deliveries.c.seq == seq)).first()
    return Delivery(*row) if row else None


def attempts_of(tx: Tx, seq: int) -> list[Attempt]:
    """The log of a delivery, the oldest attempt first."""
    query = sa.select(*(attempts.c[name] for name in Attempt._fields)).where(
        attempts.c.org == tx.org, attempts.c.delivery == seq
    )
    return [Attempt(*row) for row in tx.execute(query.order_by(attempts.c.seq))]


def page(
    tx: Tx,
    endpoint: str | None = None,
    state: str | None = None,
    notice: str | None = None,
    limit: int = 100,
    after: int = 0,
) -> list[Delivery]:
    """The newest first; `after` is the `seq` of the last one seen."""
    query = _select(tx)
    for column, wanted in (("endpoint", endpoint), ("state", state), ("notice", notice)):
        if wanted is not None:
            query = query.where(deliveries.c[column] == wanted)
    if after:
        query = query.where(deliveries.c.seq < after)
    return [Delivery(*row) for row in tx.execute(query.order_by(deliveries.c.seq.desc()).limit(limit))]


def counts(tx: Tx) -> Mapping[tuple[str, str], int]:
    """How many deliveries of each endpoint are in each state."""
    which = (deliveries.c.endpoint, deliveries.c.state)
    query = sa.select(*which, sa.func.count()).where(deliveries.c.org == tx.org).group_by(*which)
    return {(row[0], row[1]): row[2] for row in tx.execute(query)}


def waiting(tx: Tx) -> int:
    """How many wait for endpoints that are on."""
    same = sa.and_(endpoints.c.org == deliveries.c.org, endpoints.c.id == deliveries.c.endpoint)
    which = (deliveries.c.org == tx.org, deliveries.c.state == WAITING, endpoints.c.state == ON)
    query = sa.select(sa.func.count()).select_from(deliveries.join(endpoints, same)).where(*which)
    return int(tx.execute(query).scalar_one())


def delete_of(tx: Tx, endpoint: str) -> None:
    """Forget what was told to an endpoint."""
    own = (deliveries.c.org == tx.org, deliveries.c.endpoint == endpoint)
    seqs = sa.select(deliveries.c.seq).where(*own)
    tx.execute(attempts.delete().where(attempts.c.org == tx.org, attempts.c.delivery.in_(seqs)))
    tx.execute(deliveries.delete().where(*own))


def _select(tx: Tx) -> Select:
    columns = [
        notices.c[name] if name in ("type", "account", "body") else deliveries.c[name]
        for name in Delivery._fields
    ]
    same = sa.and_(notices.c.org == deliveries.c.org, notices.c.id == deliveries.c.notice)
    return sa.select(*columns).select_from(deliveries.join(notices, same)).where(deliveries.c.org == tx.org)
