"""Usage events become rows and entries: each event once, however often and in whatever company it comes.

One call is one transaction's work. Rows that are already there are left alone and cost nothing; the new ones
of an account become one ledger transaction and every usage row names the transaction that charged it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from metergate.core.budget import QUOTA, Draw
from metergate.core.hold import Terms, UsageEvent
from metergate.ledger import accounts, bulk, tables
from metergate.ledger.database import Tx
from metergate.ledger.standing import Purse, Standing, hold_still, save
from metergate.ledger.transactions import Transaction, record, reserve


class Upgrade(NamedTuple):
    """An account that reached the next plan by its usage."""

    account: str
    plan: str
    since_us: int


class Posted(NamedTuple):
    new: int
    repeated: int
    upgrades: list[Upgrade]


# What is an event's own, what it shares with events of the same outcome, and with those of the same terms.
COLUMNS: Final = (
    "id",
    "request_id",
    "at_us",
    "path",
    "units",
    "dimensions",
    "cost",
    "measured",
    "budgets",
    "org",
    "account",
    "key",
    "plan",
    "policy",
    "service",
    "route",
    "meter",
    "currency",
    "transaction",
)
OWN: Final = 4
"""So many columns differ from call to call."""
NAMES: Final = ", ".join(f'"{name}"' for name in COLUMNS)
# A batch whose rows are partly there already goes through a table of its own, which tells the new ones.
_STAGE: Final = "CREATE TEMPORARY TABLE batch (LIKE usage INCLUDING DEFAULTS) ON COMMIT DROP"
_KEEP_NEW: Final = f"""
WITH new AS (INSERT INTO usage ({NAMES}) SELECT {NAMES} FROM batch ON CONFLICT DO NOTHING RETURNING id)
SELECT id FROM batch WHERE id NOT IN (SELECT id FROM new)
"""  # noqa: S608 - the names of our own columns
_encode = msgspec.json.encode
_op, _at, _cost = attrgetter("op"), attrgetter("at_us"), attrgetter("outcome.cost")


def post(tx: Tx, events: Sequence[UsageEvent]) -> Posted:
    """Write the events that are not in the ledger yet, and what they cost."""
    batch = list({event.op: event for event in events}.values())
    if not batch:
        return Posted(0, 0, [])
    outcomes = {id(event.outcome): event.outcome for event in batch}.values()
    standings = hold_still(tx, {(one.terms.account, one.terms.currency) for one in outcomes})
    seqs = dict(zip(standings, reserve(tx, len(standings)), strict=True))
    work = _Work(tx.org, batch, seqs)
    known = _insert(tx, work)
    new = [event for event in batch if event.op not in known] if known else batch
    if known:
        work = _Work(tx.org, new, seqs)
    _charge(tx, work.charged, seqs, standings)
    _count(tx, work.totals)
    _remember(tx, work.special)
    return Posted(len(new), len(events) - len(new), _upgrade(tx, work.special))


class _Shared(NamedTuple):
    """What a batch works out once for all events of the same terms."""

    purse: Purse
    fixed: tuple[Any, ...]
    quotas: tuple[tuple[int, Draw], ...]
    """The draws on windows, and their places among the amounts."""


class _Lot(NamedTuple):
    """The events of a batch that came to the same: only the beginnings of their rows differ."""

    end: tuple[Any, ...]
    events: list[UsageEvent]


class _Work:
    """What a batch comes to, gathered in one pass, since this is the ledger's only loop over every call."""

    def __init__(self, org: int, events: Sequence[UsageEvent], seqs: Mapping[Purse, int]) -> None:
        self.lots: list[_Lot] = []
        self.charged: dict[Purse, list[UsageEvent]] = {}
        self.totals: dict[str, list[int]] = {}
        """Budget name -> what the window was really charged, and until when it lasts."""
        self.special: list[UsageEvent] = []
        """Events with a twin or an upgrade."""
        self._shared: dict[int, _Shared] = {}
        lots: dict[int, tuple[list[UsageEvent], ...]] = {}
        for event in events:
            # Outcomes that were read from the same bytes are one object, and objects are cheap to compare.
            for_whom = lots.get(id(event.outcome))
            if for_whom is None:
                for_whom = lots[id(event.outcome)] = self._lists(event)
            for each in for_whom:
                each.append(event)
        for own, *_ in lots.values():
            self._add(org, own, seqs)

    def _lists(self, event: UsageEvent) -> tuple[list[UsageEvent], ...]:
        """Where the events of an outcome are gathered: its lot, and what their purse has to pay."""
        terms = event.outcome.terms
        if not event.outcome.cost:
            return ([],)
        return [], self.charged.setdefault((terms.account, terms.currency), [])

    def _add(self, org: int, events: list[UsageEvent], seqs: Mapping[Purse, int]) -> None:
        units, dimensions, cost, measured, amounts, terms = events[0].outcome
        shared = self._shared.get(id(terms))
        if shared is None:
            shared = self._shared[id(terms)] = _share(org, terms)
        budgets = [(draw.name, amounts[at], draw.until_us) for at, draw in shared.quotas if amounts[at]]
        for name, amount, until_us in budgets:
            self.totals.setdefault(name, [0, until_us])[0] += amount * len(events)
        kinds = _encode(dict(dimensions)).decode()
        own = (units, kinds, cost, measured, _encode(budgets).decode())
        self.lots.append(_Lot((*own, *shared.fixed, seqs[shared.purse] if cost else None), events))
        self.special += [event for event in events if event.twin or terms.upgraded_from]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        return ((*event[:OWN], *lot.end) for lot in self.lots for event in lot.events)


def _share(org: int, terms: Terms) -> _Shared:
    quotas = tuple([(at, draw) for at, draw in enumerate(terms.draws) if draw.kind == QUOTA])
    return _Shared((terms.account, terms.currency), (org, *terms[: Terms._fields.index("draws")]), quotas)


def _insert(tx: Tx, work: _Work) -> set[str]:
    """Insert the rows that are new, and answer with the ids of the ones that are not."""
    return _insert_sqlite(tx, work.lots) if tx.sqlite else _insert_postgres(tx, list(work.rows()))


def _insert_sqlite(tx: Tx, lots: list[_Lot]) -> set[str]:
    last = tx.sql("SELECT coalesce(max(seq), 0) FROM usage").scalar_one()
    written = 0
    for end, events in lots:
        own = [event[:OWN] for event in events]
        written += bulk.insert_alike(tx, tables.usage, COLUMNS, own, end, "ON CONFLICT DO NOTHING")
    ids = [event.op for lot in lots for event in lot.events]
    if written == len(ids):
        return set()
    # Whoever writes to SQLite writes alone, so the rows after the last one are this batch's.
    new = set(tx.sql("SELECT id FROM usage WHERE seq > ? AND org = ?", (last, tx.org)).scalars())
    return set(ids) - new


def _insert_postgres(tx: Tx, rows: list[tuple[Any, ...]]) -> set[str]:
    try:
        with tx.connection.begin_nested():
            _copy(tx, "usage", rows)
    except tx.driver.IntegrityError:
        return _insert_what_is_new(tx, rows)
    except tx.driver.DataError:
        # PostgreSQL has no NUL in texts, and one odd call must not hold up all the others.
        return _insert_what_is_new(tx, [tuple(map(_without_nul, row)) for row in rows])
    return set()


def _insert_what_is_new(tx: Tx, rows: list[tuple[Any, ...]]) -> set[str]:
    tx.sql(_STAGE)
    _copy(tx, "batch", rows)
    known = set(tx.sql(_KEEP_NEW).scalars())
    tx.sql("DROP TABLE batch")
    return known


def _without_nul(value: Any) -> Any:
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value


def _copy(tx: Tx, table: str, rows: list[tuple[Any, ...]]) -> None:
    cursor: Any = tx.connection.connection.cursor()
    with cursor, cursor.copy(f"COPY {table} ({NAMES}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _charge(
    tx: Tx,
    charged: Mapping[Purse, Sequence[UsageEvent]],
    seqs: Mapping[Purse, int],
    standings: Mapping[Purse, Standing],
) -> None:
    written = [
        (_transaction(seqs[purse], purse[0], events), standings[purse].use(events))
        for purse, events in charged.items()
        if events
    ]
    record(tx, written)
    save(tx, [standings[purse] for purse, events in charged.items() if events])


def _transaction(seq: int, account: str, events: Sequence[UsageEvent]) -> Transaction:
    digest = hashlib.sha256("\n".join(map(_op, events)).encode()).hexdigest()
    fingerprint = f"{len(events)} rows, {sum(map(_cost, events))} nanos"
    return Transaction(seq, f"usage:{digest}", "usage", account, max(map(_at, events)), fingerprint)


def _count(tx: Tx, totals: Mapping[str, Sequence[int]]) -> None:
    """Add to the totals of windows what their budgets were really charged."""
    add = (
        "ON CONFLICT (org, name) DO UPDATE"
        " SET value = window_totals.value + excluded.value, until_us = excluded.until_us"
    )
    rows = [(tx.org, name, *totals[name]) for name in sorted(totals) if totals[name][0]]
    bulk.insert(tx, tables.window_totals, ("org", "name", "value", "until_us"), rows, add)


def _remember(tx: Tx, events: Iterable[UsageEvent]) -> None:
    """Keep the twins, so that a store that starts anew still knows what was answered."""
    twins = {event.twin[0]: (tx.org, *event.twin, event.op, event.answer) for event in events if event.twin}
    columns = ("org", "id", "fingerprint", "until_us", "op", "answer")
    bulk.replace(tx, tables.twins, columns, [twins[id] for id in sorted(twins)])


def _upgrade(tx: Tx, events: Iterable[UsageEvent]) -> list[Upgrade]:
    upgrades = []
    reached = [event for event in events if event.terms.upgraded_from]
    for event in sorted(reached, key=lambda event: event.terms.account):
        account, plan, since_us = event.terms.account, event.terms.plan, event.at_us
        if accounts.upgrade(tx, account, event.terms.upgraded_from, plan, since_us, f"upgrade:{event.op}"):
            upgrades.append(Upgrade(account, plan, since_us))
    return upgrades
