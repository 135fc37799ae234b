"""A batch that the ledger does not take as a whole: halved until the events that spoil it are alone.

One customer's nonsense must not hold up what all the others used. What cannot be posted is set aside in the
audit table, whole, and the rest is posted as ever.
"""

import base64
import json
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError

from metergate.core.hold import UsageEvent
from metergate.ledger import audit, tables, usage
from metergate.ledger.database import Tx
from metergate.ledger.posting import Posted, post
from metergate.wire import Unreadable, decode_events, encode_event, join_events

UNPOSTABLE: Final = (ArithmeticError, LookupError, ValueError, DataError, IntegrityError)
"""What an event does to its batch. An outage is none of them, and nothing is set aside for it."""
SET_ASIDE: Final = "usage.set_aside"
UNREADABLE: Final = "usage.unreadable"


def post_apart(tx: Tx, events: Sequence[UsageEvent], now_us: int) -> Posted:
    """Post every event that can be posted, in order; keep each of the others in the audit table."""
    if not events:
        return Posted(0, 0, [])
    try:
        with tx.connection.begin_nested():
            return post(tx, events)
    except UNPOSTABLE as error:
        if len(events) == 1:
            return Posted(0, 0, [], _set_aside(tx, events[0], error, now_us))
    middle = len(events) // 2
    first, second = post_apart(tx, events[:middle], now_us), post_apart(tx, events[middle:], now_us)
    upgrades = [*first.upgrades, *second.upgrades]
    new, repeated = first.new + second.new, first.repeated + second.repeated
    return Posted(new, repeated, upgrades, first.apart + second.apart)


def waiting(tx: Tx) -> int:
    """How many events were set aside and are not in the ledger."""
    events, unreadable = _kept(tx)
    return len(events) + unreadable


def post_again(tx: Tx, now_us: int) -> Posted:
    """Try everything anew that was ever set aside; what the ledger has by now is left alone."""
    events, unreadable = _kept(tx)
    posted = post_apart(tx, events, now_us)
    return posted._replace(apart=len(events) - posted.new + unreadable)


def _kept(tx: Tx) -> tuple[list[UsageEvent], int]:
    """What the audit table keeps and the ledger does not have, and how much of it nobody can read."""
    query = sa.select(tables.audit.c.details).where(
        tables.audit.c.org == tx.org, tables.audit.c.action.in_((SET_ASIDE, UNREADABLE))
    )
    events: list[UsageEvent] = []
    unreadable = 0
    for row in tx.execute(query.order_by(tables.audit.c.seq)):
        try:
            events += decode_events(base64.b64decode(json.loads(row.details)["events"]))
        except Unreadable:
            unreadable += 1
    known = usage.known(tx, [event.op for event in events])
    return [event for event in events if event.op not in known], unreadable


def _set_aside(tx: Tx, event: UsageEvent, error: Exception, now_us: int) -> int:
    # PostgreSQL has no NUL in texts, and what is set aside for one must not fail for it again.
    subject = event.op.replace("\x00", "\ufffd")
    if any(row.action == SET_ASIDE for row in audit.page(tx, subject)):
        return 0  # a batch that is repeated after an outage, or after a recovery that was killed
    kept = base64.b64encode(join_events([encode_event(event)])).decode()
    problem = str(getattr(error, "orig", None) or error).partition("\n")[0]
    audit.note(tx, now_us, "worker", SET_ASIDE, subject, {"problem": problem, "events": kept})
    return 1
