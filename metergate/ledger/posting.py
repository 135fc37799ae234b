"""Usage events become rows and entries: each event once, however often and in whatever company it comes.

One call is one transaction's work. Rows that are already there are left alone and cost nothing; the new ones
of an account become one ledger transaction and every usage row names the transaction that charged it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from metergate.core.budget import QUOTA
from metergate.core.hold import UsageEvent
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


COLUMNS: Final = (
    "org",
    "id",
    "request_id",
    "account",
    "key",
    "service",
    "route",
    "path",
    "meter",
    "units",
    "dimensions",
    "cost",
    "currency",
    "measured",
    "plan",
    "policy",
    "budgets",
    "at_us",
    "transaction",
)
NAMES: Final = ", ".join(f'"{name}"' for name in COLUMNS)
# A batch whose rows are partly there already goes through a table of its own, which tells the new ones.
_STAGE: Final = "CREATE TEMPORARY TABLE batch (LIKE usage INCLUDING DEFAULTS) ON COMMIT DROP"
_KEEP_NEW: Final = f"""
WITH new AS (INSERT INTO usage ({NAMES}) SELECT {NAMES} FROM batch ON CONFLICT DO NOTHING RETURNING id)
SELECT id FROM batch WHERE id NOT IN (SELECT id FROM new)
"""  # noqa: S608 - the names of our own columns
_encode = msgspec.json.encode
_op, _at, _cost = attrgetter("op"), attrgetter("at_us"), attrgetter("cost")


def post(tx: Tx, events: Sequence[UsageEvent]) -> Posted:
    """Write the events that are not in the ledger yet, and what they cost."""
    batch = list({event.op: event for event in events}.values())
    if not batch:
        return Posted(0, 0, [])
    standings = hold_still(tx, {(event.terms.account, event.terms.currency) for event in batch})
    charged = sorted({(event.terms.account, event.terms.currency) for event in batch if event.cost})
    seqs = dict(zip(charged, reserve(tx, len(charged)), strict=True))
    work = _Work(tx.org, batch, seqs)
    known = _insert(tx, work.rows)
    if known:
        work = _Work(tx.org, [event for event in batch if event.op not in known], seqs)
    _charge(tx, work.charged, seqs, standings)
    _count(tx, work.totals)
    _remember(tx, work.special)
    new = len(work.rows)
    return Posted(new, len(events) - new, _upgrade(tx, work.special))


class _Work:
    """What a batch comes to, gathered in one pass, since this is the ledger's only loop over every call."""

    __slots__ = ("charged", "rows", "special", "totals")

    def __init__(self, org: int, events: Sequence[UsageEvent], seqs: Mapping[Purse, int]) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.charged: dict[Purse, list[UsageEvent]] = {}
        self.totals: dict[str, list[int]] = {}
        """Budget name -> what the window was really charged, and until when it lasts."""
        self.special: list[UsageEvent] = []
        """Events with a twin or an upgrade."""
        add, charged, totals = self.rows.append, self.charged, self.totals
        for event in events:
            op, request_id, at_us, path, units, dimensions, cost, measured, amounts, terms, twin, _ = event
            account, key, plan, policy, service, route, meter, currency, draws, _, _, upgraded_from = terms
            budgets = []
            for draw, amount in zip(draws, amounts, strict=True):
                if draw[0] == QUOTA and amount:
                    name, until_us = draw[1], draw[5]
                    budgets.append((name, amount, until_us))
                    if name in totals:
                        totals[name][0] += amount
                    else:
                        totals[name] = [amount, until_us]
            seq = None
            if cost:
                purse = (account, currency)
                seq = seqs[purse]
                if purse in charged:
                    charged[purse].append(event)
                else:
                    charged[purse] = [event]
            if twin or upgraded_from:
                self.special.append(event)
            add(
                (
                    org,
                    op,
                    request_id,
                    account,
                    key,
                    service,
                    route,
                    path,
                    meter,
                    units,
                    _encode(dict(dimensions)).decode() if dimensions else "{}",
                    cost,
                    currency,
                    measured,
                    plan,
                    policy,
                    _encode(budgets).decode() if budgets else "[]",
                    at_us,
                    seq,
                )
            )


def _insert(tx: Tx, rows: list[tuple[Any, ...]]) -> set[str]:
    """Insert the rows that are new, and answer with the ids of the ones that are not."""
    if tx.sqlite:
        return _insert_sqlite(tx, rows)
    return _insert_postgres(tx, rows)


def _insert_sqlite(tx: Tx, rows: list[tuple[Any, ...]]) -> set[str]:
    last = tx.sql("SELECT coalesce(max(seq), 0) FROM usage").scalar_one()
    if bulk.insert(tx, tables.usage, COLUMNS, rows, "ON CONFLICT DO NOTHING") == len(rows):
        return set()
    # Whoever writes to SQLite writes alone, so the rows after the last one are this batch's.
    new = set(tx.sql("SELECT id FROM usage WHERE seq > ? AND org = ?", (last, tx.org)).scalars())
    return {row[1] for row in rows} - new


def _insert_postgres(tx: Tx, rows: list[tuple[Any, ...]]) -> set[str]:
    try:
        with tx.connection.begin_nested():
            _copy(tx, "usage", rows)
    except tx.integrity_error:
        tx.sql(_STAGE)
        _copy(tx, "batch", rows)
        known = set(tx.sql(_KEEP_NEW).scalars())
        tx.sql("DROP TABLE batch")
        return known
    return set()


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
    ]
    record(tx, written)
    save(tx, [standings[purse] for purse in charged])


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
    rows = [(tx.org, name, *totals[name]) for name in sorted(totals)]
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
