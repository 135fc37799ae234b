"""The inbox: what providers told us, as it came, each event once however often it is delivered."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from metergate.ledger import bulk
from metergate.ledger.database import Select, Tx
from metergate.ledger.payment_tables import provider_events as events

STATES = WAITING, DONE, IGNORED, REFUSED, DEAD = "waiting", "done", "ignored", "refused", "dead"
LEASE_US: Final = 60 * 10**6
"""How long whoever takes events may need for them, before somebody else does."""


class EventRow(NamedTuple):
    seq: int
    provider: str
    event_id: str
    type: str
    event: str
    """What the adapter read in it, as JSON."""
    headers: str
    body: bytes
    state: str
    """waiting, done, ignored (not about us), refused (does not match our order) or dead (tried too often)."""
    detail: str
    tries: int
    next_at_us: int
    at_us: int
    received_at_us: int
    handled_at_us: int | None
    deliveries: int


class Arrived(NamedTuple):
    provider: str
    event_id: str
    type: str
    event: str
    at_us: int


def receive(tx: Tx, arrived: Sequence[Arrived], headers: Mapping[str, str], body: bytes, now_us: int) -> int:
    """Keep events with the bytes that they came in; how many of them are new."""
    names = ("org", "provider", "event_id", "type", "event", "headers", "body", "state", "detail")
    numbers = ("tries", "next_at_us", "at_us", "received_at_us", "deliveries")
    told = json.dumps(dict(headers))
    new = 0
    for each in arrived:
        facts = (each.provider, each.event_id, each.type, each.event, told, body, WAITING, "")
        row = (tx.org, *facts, 0, now_us, each.at_us, now_us, 1)
        fresh = bulk.insert(tx, events, (*names, *numbers), [row], "ON CONFLICT DO NOTHING")
        new += fresh
        if not fresh:
            again = {"deliveries": events.c.deliveries + 1}
            tx.execute(events.update().where(_is(tx, each.provider, each.event_id)).values(again))
    return new


def waiting(tx: Tx, now_us: int) -> list[str]:
    """The providers of which there is something to take."""
    due = (events.c.org == tx.org, events.c.state == WAITING, events.c.next_at_us <= now_us)
    return list(tx.execute(sa.select(events.c.provider).where(*due).distinct()).scalars())


def take(tx: Tx, provider: str, now_us: int, limit: int) -> list[EventRow]:
    """A provider's oldest that wait. Nobody else takes them for a while; who dies leaves them to others."""
    of_it = (events.c.provider == provider, events.c.state == WAITING)
    due = _select(tx).where(*of_it, events.c.next_at_us <= now_us)
    rows = tx.execute(due.order_by(events.c.seq).limit(limit).with_for_update(skip_locked=True)).all()
    seqs = [row.seq for row in rows]
    lease = {"next_at_us": now_us + LEASE_US, "tries": events.c.tries + 1}
    tx.execute(events.update().where(events.c.org == tx.org, events.c.seq.in_(seqs)).values(lease))
    return [EventRow(*row) for row in rows]


def finish(tx: Tx, seq: int, state: str, detail: str, now_us: int) -> None:
    values: dict[str, Any] = {"state": state, "detail": _plain(detail), "handled_at_us": now_us}
    tx.execute(events.update().where(events.c.org == tx.org, events.c.seq == seq).values(values))


def put_off(tx: Tx, seq: int, detail: str, until_us: int, tries: int) -> None:
    """Try it again later; it was tried so often until now."""
    values: dict[str, Any] = {"detail": _plain(detail), "next_at_us": until_us, "tries": tries}
    tx.execute(events.update().where(events.c.org == tx.org, events.c.seq == seq).values(values))


def replay(
    tx: Tx,
    now_us: int,
    *,
    provider: str | None = None,
    event_id: str | None = None,
    state: str | None = None,
) -> int:
    """Have events handled once more, whatever became of them; how many. What is not named is any."""
    named = {"provider": provider, "event_id": event_id, "state": state}
    which = [events.c[name] == value for name, value in named.items() if value is not None]
    again = {"state": WAITING, "detail": "", "tries": 0, "next_at_us": now_us, "handled_at_us": None}
    return tx.execute(events.update().where(events.c.org == tx.org, *which).values(again)).rowcount


def forget(tx: Tx, before_us: int, limit: int) -> int:
    """Let go of what stands in events that were handled: they tell of people. What they came to stays."""
    over = (events.c.org == tx.org, sa.func.length(events.c.body) > 0, events.c.handled_at_us < before_us)
    seqs = sa.select(events.c.seq).where(*over, events.c.state.in_((DONE, IGNORED))).limit(limit)
    gone = {"body": b"", "headers": "{}"}
    return tx.execute(
        events.update().where(events.c.org == tx.org, events.c.seq.in_(seqs)).values(gone)
    ).rowcount


def page(
    tx: Tx, provider: str | None = None, state: str | None = None, limit: int = 100, after: int = 0
) -> list[EventRow]:
    """The newest first; `after` is the `seq` of the last one seen."""
    query = _select(tx)
    if provider is not None:
        query = query.where(events.c.provider == provider)
    if state is not None:
        query = query.where(events.c.state == state)
    if after:
        query = query.where(events.c.seq < after)
    return [EventRow(*row) for row in tx.execute(query.order_by(events.c.seq.desc()).limit(limit))]


def counts(tx: Tx, provider: str | None = None) -> Mapping[str, int]:
    """How many events there are in each state."""
    query = sa.select(events.c.state, sa.func.count()).where(events.c.org == tx.org)
    if provider is not None:
        query = query.where(events.c.provider == provider)
    return {row[0]: row[1] for row in tx.execute(query.group_by(events.c.state))}


def _plain(detail: str) -> str:
    """As every database takes it: what repeats a strange event must not keep it from being put aside."""
    return detail.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _select(tx: Tx) -> Select:
    return sa.select(*(events.c[name] for name in EventRow._fields)).where(events.c.org == tx.org)


def _is(tx: Tx, provider: str, event_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(events.c.org == tx.org, events.c.provider == provider, events.c.event_id == event_id)
