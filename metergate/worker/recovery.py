"""Start-up of the embedded store: the ledger, plus what the journal of the last process still holds.

Settled events go into the ledger, which knows those it has already. A hold that was open when the process
died ends here: settled by `on_unknown_outcome` if its call was dispatched, released otherwise. Only then are
balances, keys and windows read, so that nothing is counted twice and nothing is forgotten.
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
from metergate.wire import decode_event, decode_hold
from metergate.worker.flusher import answered

BATCH = 5000


class Left(NamedTuple):
    """What a dead process left in its journal."""

    events: list[UsageEvent]
    unknown: int
    released: int


def left_behind(records: Iterable[Record], now_us: int) -> Left:
    """The events of a journal, and how its open holds end."""
    events: list[UsageEvent] = []
    still_open: dict[str, tuple[str, Terms, bool]] = {}
    for record in records:
        if record.kind == journal.HOLD:
            op, request_id, terms = decode_hold(record.payload)
            still_open[op] = (request_id, terms, record.marked)
        elif record.kind == journal.SETTLE:
            events.append(decode_event(record.payload))
            still_open.pop(events[-1].op, None)
        else:
            still_open.pop(record.payload.decode(), None)
    dispatched = [(op, *rest) for op, rest in still_open.items() if rest[2]]
    events += [unknown_outcome(op, request_id, terms, now_us) for op, request_id, terms, _ in dispatched]
    return Left(events, len(dispatched), len(still_open) - len(dispatched))


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
