"""Start-up of the embedded store: the ledger, plus what the journal of the last process still holds.

Settled events go into the ledger, which knows those it has already. A call that was dispatched and has no
end is settled by `on_unknown_outcome`; a hold whose call was never dispatched died with its process. Only
then are balances, keys and windows read, so that nothing is counted twice and nothing is forgotten.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from metergate.core.hold import Terms, UsageEvent, unknown_outcome
from metergate.ledger import accounts, balances, keys, posting, twins
from metergate.ledger.database import Tx
from metergate.ledger.thread import LedgerThread
from metergate.ports import Change, Clock, CounterStore, PutAccount, PutBudget, PutKey, PutTwin
from metergate.store import journal
from metergate.store.journal import Record
from metergate.wire import decode_events, decode_hold
from metergate.worker.flusher import answered

BATCH = 5000


class Left(NamedTuple):
    """What a dead process left in its journal."""

    events: list[UsageEvent]
    unknown: int
    """How many of the events are of calls whose end nobody saw."""


def left_behind(records: Iterable[Record], now_us: int) -> Left:
    """The events of a journal, and those of the calls that it saw begin and not end."""
    events: list[UsageEvent] = []
    running: dict[str, tuple[str, Terms]] = {}
    for record in records:
        if record.kind == journal.DISPATCHED:
            op, request_id, terms = decode_hold(record.payload)
            running[op] = (request_id, terms)
        elif record.kind == journal.SETTLED:
            events += decode_events(record.payload)
        else:
            running.pop(record.payload.decode(), None)
    ended = {event.op for event in events}
    unknown = [
        unknown_outcome(op, request_id, terms, now_us)
        for op, (request_id, terms) in running.items()
        if op not in ended
    ]
    return Left(events + unknown, len(unknown))


async def recover(folder: Path, ledger: LedgerThread, clock: Clock) -> Left:
    """Bring into the ledger what a journal folder holds. Doing it twice changes nothing."""
    left = await ledger.run(lambda: left_behind(journal.read(folder), clock()))
    for start in range(0, len(left.events), BATCH):
        await ledger.write(partial(posting.post, events=left.events[start : start + BATCH]))
    return left


async def load(store: CounterStore, ledger: LedgerThread, clock: Clock) -> None:
    """Tell an empty store everything that the ledger knows."""
    now_us = clock()
    await answered(store.sync(await ledger.read(lambda tx: _known(tx, now_us)), now_us))


def _known(tx: Tx, now_us: int) -> Sequence[Change]:
    spendable = dict(balances.all_balances(tx))
    changes: list[Change] = [
        PutAccount(facts, spendable.get(facts.id, 0)) for facts in accounts.all_facts(tx)
    ]
    changes += [PutKey(facts) for facts in keys.all_facts(tx)]
    changes += [PutBudget(*window) for window in balances.windows(tx, now_us)]
    changes += [PutTwin(each.twin, each.answer) for each in twins.live(tx, now_us)]
    return changes
