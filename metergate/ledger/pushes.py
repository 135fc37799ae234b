"""Intents: usage totals that a provider must come to show, each written down before it is sent.

    pending --claim--> sent --accepted-->  the provider has it
                         |----rejected-->  parked: it would never be taken as it is; what follows it waits
                         |----unknown--->  sent: again under its identifier while that is surely remembered

`dropped` was accepted and then thrown away by the provider, `late` became too old to be taken.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from metergate.ledger import bulk
from metergate.ledger.database import Select, Tx
from metergate.ledger.push_tables import push_intents as intents

PENDING, SENT, ACCEPTED, PARKED, DROPPED, LATE = "pending", "sent", "accepted", "parked", "dropped", "late"
UNFINISHED: Final = (PENDING, SENT, PARKED)
DAY_US: Final = 86_400 * 10**6
LONG_AGO_US: Final = 1
"""Since when an intent is unsure that another ledger may have sent."""
LEASE_US: Final = 120 * 10**6
"""How long whoever sends an intent may need for it, before somebody else does."""


class Intent(NamedTuple):
    seq: int
    provider: str
    account: str
    customer: str
    meter: str
    start_us: int
    end_us: int
    revision: int
    identifier: str
    units: int
    at_us: int
    repair: bool
    state: str
    detail: str
    tries: int
    unsure_since_us: int | None
    """Since when the provider may have it without our knowing."""
    next_at_us: int
    created_at_us: int
    updated_at_us: int


class Day(NamedTuple):
    """What a provider was told of a customer and a meter for usage of a day."""

    provider: str
    account: str
    customer: str
    meter: str
    start_us: int
    units: int


class Numbers(NamedTuple):
    waiting: int
    oldest_us: int | None
    parked: int


def insert(tx: Tx, rows: Sequence[Intent]) -> None:
    columns = ("org", *Intent._fields[1:])
    bulk.insert(tx, intents, columns, [(tx.org, *row[1:]) for row in rows])


def claim(tx: Tx, provider: str, now_us: int, limit: int) -> list[Intent]:
    """Take intents that are due, the oldest of each customer and meter; as they were before they were taken.

    Who takes one has a lease of it: only the oldest that is not finished is ever sent, so one at a time.
    """
    found = _due(tx, provider, now_us).order_by(intents.c.seq).limit(limit)
    rows = tx.execute(found.with_for_update(skip_locked=True)).all()
    taken = [Intent(*row) for row in rows]
    mine = (intents.c.org == tx.org, intents.c.seq.in_([each.seq for each in taken]))
    values = {
        "state": SENT,
        "tries": intents.c.tries + 1,
        "next_at_us": now_us + LEASE_US,
        "unsure_since_us": sa.func.coalesce(intents.c.unsure_since_us, now_us),
        "updated_at_us": now_us,
    }
    if taken:
        tx.execute(intents.update().where(*mine).values(values))
    return taken


def _due(tx: Tx, provider: str, now_us: int) -> Select:
    return _select(tx).where(
        intents.c.provider == provider,
        intents.c.state.in_((PENDING, SENT)),
        intents.c.next_at_us <= now_us,
        ~_something_before(tx),
    )


def _something_before(tx: Tx) -> sa.ColumnElement[bool]:
    """Whether an older intent of the same customer and meter is not finished."""
    before = intents.alias("before")
    return sa.exists().where(
        before.c.org == tx.org,
        before.c.provider == intents.c.provider,
        before.c.customer == intents.c.customer,
        before.c.meter == intents.c.meter,
        before.c.seq < intents.c.seq,
        before.c.state.in_(UNFINISHED),
    )


def finish(tx: Tx, taken: Intent, **values: Any) -> bool:
    """Write down what became of an intent that was taken, unless somebody else has taken it since."""
    mine = (intents.c.org == tx.org, intents.c.seq == taken.seq)
    held = (*mine, intents.c.state == SENT, intents.c.tries == taken.tries + 1)
    return bool(tx.execute(intents.update().where(*held).values(values)).rowcount)


def doubt(tx: Tx) -> None:
    """Ask providers whether they have what is not known to be there."""
    open_ones = (intents.c.org == tx.org, intents.c.state.in_((PENDING, SENT)))
    values = {"state": SENT, "unsure_since_us": LONG_AGO_US}
    tx.execute(intents.update().where(*open_ones).values(values))


def end_leases(tx: Tx, now_us: int) -> None:
    """Whoever had taken an intent is no more: nobody else sends from this ledger."""
    taken = (intents.c.org == tx.org, intents.c.state == SENT, intents.c.next_at_us > now_us)
    tx.execute(intents.update().where(*taken).values(next_at_us=now_us))


def change(tx: Tx, seq: int, **values: Any) -> None:
    tx.execute(intents.update().where(intents.c.org == tx.org, intents.c.seq == seq).values(values))


def due(tx: Tx, provider: str, now_us: int) -> bool:
    """Whether there is something to claim."""
    return tx.execute(_due(tx, provider, now_us).limit(1)).first() is not None


def named(tx: Tx, provider: str, identifier: str) -> Intent | None:
    query = _select(tx).where(intents.c.provider == provider, intents.c.identifier == identifier)
    row = tx.execute(query.with_for_update()).first()
    return Intent(*row) if row else None


def page(
    tx: Tx,
    *,
    provider: str | None = None,
    account: str | None = None,
    state: str | None = None,
    limit: int = 100,
    after: int = 0,
) -> list[Intent]:
    """The newest first; `after` is the `seq` of the last one seen."""
    query = _select(tx)
    for column, value in (
        (intents.c.provider, provider),
        (intents.c.account, account),
        (intents.c.state, state),
    ):
        if value is not None:
            query = query.where(column == value)
    if after:
        query = query.where(intents.c.seq < after)
    return [Intent(*row) for row in tx.execute(query.order_by(intents.c.seq.desc()).limit(limit))]


def unsettled(tx: Tx, provider: str, since_us: int, account: str | None = None) -> list[Intent]:
    """What is not finished, and what came too late since an instant, in order."""
    late = sa.and_(intents.c.state == LATE, intents.c.updated_at_us >= since_us)
    query = _select(tx).where(intents.c.provider == provider, sa.or_(intents.c.state.in_(UNFINISHED), late))
    if account is not None:
        query = query.where(intents.c.account == account)
    return [Intent(*row) for row in tx.execute(query.order_by(intents.c.seq))]


def days(tx: Tx, provider: str, since_us: int, account: str | None = None) -> list[Day]:
    """What a provider was told of each customer and meter, by day."""
    cell = intents.c.at_us // DAY_US
    usage = sa.case((_counted(), intents.c.units), else_=0)
    about = (intents.c.account, intents.c.customer, intents.c.meter)
    query = sa.select(*about, cell, sa.func.sum(usage)).where(
        intents.c.org == tx.org, intents.c.provider == provider, intents.c.at_us >= since_us
    )
    if account is not None:
        query = query.where(intents.c.account == account)
    found = tx.execute(query.group_by(*about, cell).order_by(*about, cell))
    return [
        Day(provider, account, customer, meter, day * DAY_US, int(units))
        for account, customer, meter, day, units in found
    ]


def between(tx: Tx, about: Day, start_us: int, end_us: int) -> list[Intent]:
    """Every intent of a customer and a meter for usage of a span, in order."""
    query = _select(tx).where(*_of(about.provider, about.customer, about.meter, start_us, end_us))
    return [Intent(*row) for row in tx.execute(query.order_by(intents.c.seq))]


def accepted_between(tx: Tx, like: Intent, start_us: int, end_us: int) -> int:
    """What the provider has of a customer and a meter in a span, as far as we know."""
    here = _of(like.provider, like.customer, like.meter, start_us, end_us)
    query = sa.select(sa.func.sum(intents.c.units)).where(intents.c.org == tx.org, *here, _counted())
    return int(tx.execute(query).scalar() or 0)


def newest_between(tx: Tx, like: Intent, start_us: int, end_us: int) -> int:
    """The number of the newest intent of a customer and a meter for usage of a span."""
    here = _of(like.provider, like.customer, like.meter, start_us, end_us)
    query = sa.select(sa.func.max(intents.c.seq)).where(intents.c.org == tx.org, *here)
    return int(tx.execute(query).scalar() or 0)


def _of(
    provider: str, customer: str, meter: str, start_us: int, end_us: int
) -> tuple[sa.ColumnElement[bool], ...]:
    own = (intents.c.provider == provider, intents.c.customer == customer, intents.c.meter == meter)
    return (*own, intents.c.at_us >= start_us, intents.c.at_us < end_us)


def _counted() -> sa.ColumnElement[bool]:
    """Whether it is usage that the provider took; a repair makes up for what it lost or had too much."""
    return sa.and_(intents.c.state == ACCEPTED, sa.not_(intents.c.repair))


def numbers(tx: Tx) -> Numbers:
    """What waits, since when, and what is parked."""
    counted = sa.select(intents.c.state, sa.func.count(), sa.func.min(intents.c.created_at_us))
    here = (intents.c.org == tx.org, intents.c.state.in_(UNFINISHED))
    found: Mapping[str, tuple[int, int]] = {
        row[0]: (row[1], row[2]) for row in tx.execute(counted.where(*here).group_by(intents.c.state))
    }
    since_us = [oldest for _, oldest in found.values()]
    waiting = sum(count for state, (count, _) in found.items() if state != PARKED)
    return Numbers(waiting, min(since_us, default=None), found.get(PARKED, (0, 0))[0])


def _select(tx: Tx) -> Select:
    return sa.select(*(intents.c[name] for name in Intent._fields)).where(intents.c.org == tx.org)
