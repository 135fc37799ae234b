"""Start-up of the embedded store: the ledger, plus what the journal of the last process still holds.

Settled events go into the ledger, which knows those it has already. A call that was dispatched and has no
end is settled by `on_unknown_outcome`; a hold whose call was never dispatched died with its process. Only
then are balances, keys and windows read, so that nothing is counted twice and nothing is forgotten. Holds
that stand by themselves, and whose time is not over, are held again.
"""

import base64
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from metergate.core.hold import UsageEvent
from metergate.ledger import accounts, audit, balances, keys, posting, twins, usage
from metergate.ledger.apart import UNPOSTABLE, post_apart
from metergate.ledger.database import Tx
from metergate.ledger.thread import LedgerThread
from metergate.ports import (
    Change,
    Clock,
    CounterStore,
    Hold,
    PutAccount,
    PutBudget,
    PutKey,
    PutTwin,
    answered,
)
from metergate.store import journal
from metergate.store.journal import Record
from metergate.store.left import Left

BATCH = 5000


class Recovered(NamedTuple):
    """What a dead process left in its journal."""

    events: list[UsageEvent]
    unknown: int
    """How many of the events are of calls whose end nobody saw."""
    unreadable: list[bytes]
    standing: list[Hold]
    """Holds of calls that somebody else serves, and whose time is not over."""


def left_behind(records: Iterable[Record], now_us: int) -> Recovered:
    """The events of a journal, and those of the calls that it saw begin and not end."""
    left = Left(enumerate(records))
    unknown = left.unknown(now_us)
    return Recovered(left.done() + unknown, len(unknown), left.unreadable, left.standing(now_us))


async def recover(folder: Path, ledger: LedgerThread, clock: Clock) -> Recovered:
    """Bring into the ledger what a journal folder holds. Doing it twice changes nothing."""
    left = await ledger.run(lambda: left_behind(journal.read(folder), clock()))
    await post_all(ledger, left.events, clock)
    if left.unreadable:
        await ledger.write(partial(set_aside, records=left.unreadable, now_us=clock()))
        ledger.keep_apart(len(left.unreadable))
    # What the ledger has may have ended where the journal had no room to say so.
    ops = [hold.op for hold in left.standing]
    ended = await ledger.read(lambda tx: usage.known(tx, ops)) if ops else set()
    return left._replace(standing=[hold for hold in left.standing if hold.op not in ended])


async def post_all(ledger: LedgerThread, events: Sequence[UsageEvent], clock: Clock) -> None:
    for start in range(0, len(events), BATCH):
        await _post(ledger, events[start : start + BATCH], clock)


async def _post(ledger: LedgerThread, events: Sequence[UsageEvent], clock: Clock) -> None:
    try:
        await ledger.write(partial(posting.post, events=events))
    except UNPOSTABLE:
        posted = await ledger.write(partial(post_apart, events=events, now_us=clock()))
        ledger.keep_apart(posted.apart)


def set_aside(tx: Tx, records: Sequence[bytes], now_us: int) -> None:
    """A record that nobody can read must not stop the start, nor be lost."""
    for record in records:
        kept = {"record": base64.b64encode(record).decode()}
        audit.note(tx, now_us, "worker", "journal.unreadable", "journal", kept)


async def load(store: CounterStore, ledger: LedgerThread, clock: Clock) -> None:
    """Tell an empty store everything that the ledger knows."""
    now_us = clock()
    await answered(store.sync(await ledger.read(lambda tx: everything(tx, now_us)), now_us))


def everything(tx: Tx, now_us: int) -> Sequence[Change]:
    """What the ledger knows and a store has to."""
    spendable = dict(balances.all_balances(tx))
    changes: list[Change] = [
        PutAccount(facts, spendable.get(facts.id, 0)) for facts in accounts.all_facts(tx)
    ]
    changes += [PutKey(facts) for facts in keys.all_facts(tx)]
    changes += [PutBudget(*window) for window in balances.windows(tx, now_us)]
    changes += [PutTwin(each.twin, each.answer) for each in twins.live(tx, now_us)]
    return changes
