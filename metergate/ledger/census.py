"""How much of money in is under way: a few counts over small indexes, asked every few seconds."""

from typing import Final, NamedTuple

import sqlalchemy as sa

from metergate.ledger.database import Tx
from metergate.ledger.inbox import DEAD, WAITING
from metergate.ledger.payment_tables import payments, provider_events

MINUTE_US: Final = 60 * 10**6
AGES: Final = {"15m": 15 * MINUTE_US, "1h": 60 * MINUTE_US, "1d": 1440 * MINUTE_US}
"""Payments that are at most so old; all others are `older`."""


class Waiting(NamedTuple):
    """News of one provider that nobody has handled yet."""

    events: int
    oldest_us: int


class Census(NamedTuple):
    open: dict[tuple[str, str], int]
    """Payments that nobody has finished, by provider and age."""
    mismatched: dict[str, int]
    """Payments of which the provider says what does not match our order."""
    waiting: dict[str, Waiting]
    dead: dict[str, int]
    """News that was tried too often."""


def take(tx: Tx, now_us: int) -> Census:
    ages = [(payments.c.created_at_us > now_us - most, name) for name, most in AGES.items()]
    age = sa.case(*ages, else_="older")
    still = (payments.c.org == tx.org, payments.c.look_at_us.is_not(None), payments.c.state == "pending")
    counted = sa.select(payments.c.provider, age, sa.func.count()).where(*still)
    rows = tx.execute(counted.group_by(payments.c.provider, age))
    doubted = (payments.c.org == tx.org, payments.c.mismatch != "")
    return Census(
        {(provider, name): count for provider, name, count in rows},
        _counted(tx, payments, *doubted),
        waiting(tx),
        dead(tx),
    )


def waiting(tx: Tx) -> dict[str, Waiting]:
    events = provider_events.c
    asked = sa.select(events.provider, sa.func.count(), sa.func.min(events.received_at_us))
    rows = tx.execute(asked.where(events.org == tx.org, events.state == WAITING).group_by(events.provider))
    return {provider: Waiting(count, int(oldest_us)) for provider, count, oldest_us in rows}


def dead(tx: Tx) -> dict[str, int]:
    return _counted(tx, provider_events, provider_events.c.org == tx.org, provider_events.c.state == DEAD)


def _counted(tx: Tx, table: sa.Table, *which: sa.ColumnElement[bool]) -> dict[str, int]:
    asked = sa.select(table.c.provider, sa.func.count()).where(*which).group_by(table.c.provider)
    return dict(tuple(row) for row in tx.execute(asked))
