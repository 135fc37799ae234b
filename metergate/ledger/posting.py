"""Usage events become rows and entries: each event once, however often and in whatever company it comes.

One call is one transaction's work. Rows that are already there are left alone and cost nothing; the new ones
of an account become one ledger transaction and every usage row names the transaction that charged it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from metergate.core.budget import QUOTA, Draw
from metergate.core.hold import Terms, UsageEvent
from metergate.core.lots import Lot, lots_of, merged, without
from metergate.core.money import MAX
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
NAMES: Final = ", ".join(f'"{name}"' for name in COLUMNS)
# A batch whose rows are partly there already goes through a table of its own, which tells the new ones.
_STAGE: Final = "CREATE TEMPORARY TABLE batch (LIKE usage INCLUDING DEFAULTS) ON COMMIT DROP"
_KEEP_NEW: Final = f"""
WITH new AS (INSERT INTO usage ({NAMES}) SELECT {NAMES} FROM batch ON CONFLICT DO NOTHING RETURNING id)
SELECT id FROM batch WHERE id NOT IN (SELECT id FROM new)
"""  # noqa: S608 - the names of our own columns
_encode = msgspec.json.encode


def post(tx: Tx, events: Sequence[UsageEvent]) -> Posted:
    """Write the events that are not in the ledger yet, and what they cost."""
    return post_lots(tx, lots_of(events))


def post_lots(tx: Tx, lots: Sequence[Lot]) -> Posted:
    """The same for events that were read as lots."""
    lots = merged(lots)
    if not lots:
        return Posted(0, 0, [])
    standings = hold_still(tx, {(lot.outcome.terms.account, lot.outcome.terms.currency) for lot in lots})
    seqs = dict(zip(standings, reserve(tx, len(standings)), strict=True))
    work = _Work(tx.org, lots, seqs)
    came = work.count
    known = _insert(tx, work)
    if known is not None:
        work = _Work(tx.org, without(lots, known), seqs)
    _charge(tx, work.charged, seqs, standings)
    _count(tx, work.totals)
    _remember(tx, work.lots)
    return Posted(work.count, came - work.count, _upgrade(tx, work.lots))


class _Shared(NamedTuple):
    """What a batch works out once for all events of the same terms."""

    purse: Purse
    fixed: tuple[Any, ...]
    quotas: tuple[tuple[int, Draw], ...]
    """The draws on windows, and their places among the amounts."""


class _Work:
    """What a batch comes to, gathered in one pass."""

    def __init__(self, org: int, lots: Sequence[Lot], seqs: Mapping[Purse, int]) -> None:
        self.lots = lots
        self.count = sum(len(lot.ops) for lot in lots)
        self.ends: list[tuple[Any, ...]] = []
        """The end that the rows of each lot share."""
        self.charged: dict[Purse, list[Lot]] = {}
        self.totals: dict[str, list[int]] = {}
        """Budget name -> what the window was really charged, and until when it lasts."""
        self._shared: dict[int, _Shared] = {}
        for lot in lots:
            self._add(org, lot, seqs)

    def _add(self, org: int, lot: Lot, seqs: Mapping[Purse, int]) -> None:
        units, dimensions, cost, measured, amounts, terms = lot.outcome
        shared = self._shared.get(id(terms))
        if shared is None:
            shared = self._shared[id(terms)] = _share(org, terms)
        budgets = [(draw.name, amounts[at], draw.until_us) for at, draw in shared.quotas if amounts[at]]
        for name, amount, until_us in budgets:
            self.totals.setdefault(name, [0, until_us])[0] += amount * len(lot.ops)
        if cost:
            self.charged.setdefault(shared.purse, []).append(lot)
        own = (units, _encode(dict(dimensions)).decode(), cost, measured, _encode(budgets).decode())
        self.ends.append((*own, *shared.fixed, seqs[shared.purse] if cost else None))

    def rows(self) -> list[tuple[Any, ...]]:
        return [(*own, *end) for lot, end in zip(self.lots, self.ends, strict=True) for own in lot.own()]


def _share(org: int, terms: Terms) -> _Shared:
    quotas = tuple([(at, draw) for at, draw in enumerate(terms.draws) if draw.kind == QUOTA])
    return _Shared((terms.account, terms.currency), (org, *terms[: Terms._fields.index("draws")]), quotas)


def _insert(tx: Tx, work: _Work) -> set[str] | None:
    """Insert the rows that are new. None when all were, else the ids of those that were there before."""
    return _insert_sqlite(tx, work) if tx.sqlite else _insert_postgres(tx, work.rows())


def _insert_sqlite(tx: Tx, work: _Work) -> set[str] | None:
    last = tx.sql("SELECT coalesce(max(seq), 0) FROM usage").scalar_one()
    written = 0
    for lot, end in zip(work.lots, work.ends, strict=True):
        own = (lot.ops, lot.request_ids, lot.instants, lot.paths)
        written += bulk.insert_alike(tx, tables.usage, COLUMNS, own, end, "ON CONFLICT DO NOTHING")
    if written == work.count:
        return None
    # Whoever writes to SQLite writes alone, so the rows after the last one are this batch's.
    new = set(tx.sql("SELECT id FROM usage WHERE seq > ? AND org = ?", (last, tx.org)).scalars())
    return {op for lot in work.lots for op in lot.ops} - new


def _insert_postgres(tx: Tx, rows: list[tuple[Any, ...]]) -> set[str] | None:
    try:
        with tx.connection.begin_nested():
            _copy(tx, "usage", rows)
    except tx.driver.IntegrityError:
        return _insert_what_is_new(tx, rows)
    except tx.driver.DataError:
        # PostgreSQL has no NUL in texts, and one odd call must not hold up all the others.
        return _insert_what_is_new(tx, [tuple(map(_without_nul, row)) for row in rows])
    return None


def _insert_what_is_new(tx: Tx, rows: list[tuple[Any, ...]]) -> set[str]:
    tx.sql(_STAGE)
    try:
        _copy(tx, "batch", rows)
    except tx.driver.DataError as error:
        raise ValueError(f"PostgreSQL cannot keep a value: {error}") from error
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
    charged: Mapping[Purse, Sequence[Lot]],
    seqs: Mapping[Purse, int],
    standings: Mapping[Purse, Standing],
) -> None:
    written = [
        (_transaction(seqs[purse], purse[0], lots), standings[purse].use(lots))
        for purse, lots in charged.items()
    ]
    record(tx, written)
    save(tx, [standings[purse] for purse in charged])


def _transaction(seq: int, account: str, lots: Sequence[Lot]) -> Transaction:
    ops = [op for lot in lots for op in lot.ops]
    digest = hashlib.sha256("\n".join(ops).encode()).hexdigest()
    fingerprint = f"{len(ops)} rows, {sum(lot.cost for lot in lots)} nanos"
    at_us = max(max(lot.instants) for lot in lots)
    return Transaction(seq, f"usage:{digest}", "usage", account, at_us, fingerprint)


def _count(tx: Tx, totals: Mapping[str, Sequence[int]]) -> None:
    """Add to the totals of windows what their budgets were really charged; a full counter stays full."""
    add = (
        "ON CONFLICT (org, name) DO UPDATE"
        f" SET value = CASE WHEN window_totals.value > {MAX} - excluded.value THEN {MAX}"
        " ELSE window_totals.value + excluded.value END, until_us = excluded.until_us"
    )
    rows = [
        (tx.org, name, min(value, MAX), until_us)
        for name, (value, until_us) in sorted(totals.items())
        if value
    ]
    bulk.insert(tx, tables.window_totals, ("org", "name", "value", "until_us"), rows, add)


def _remember(tx: Tx, lots: Iterable[Lot]) -> None:
    """Keep the twins, so that a store that starts anew still knows what was answered."""
    twins = {twin[0]: (tx.org, *twin, op, answer) for lot in lots for op, twin, answer in lot.twins}
    columns = ("org", "id", "fingerprint", "until_us", "op", "answer")
    bulk.replace(tx, tables.twins, columns, [twins[id] for id in sorted(twins)])


def _upgrade(tx: Tx, lots: Iterable[Lot]) -> list[Upgrade]:
    upgrades = []
    reached = [lot for lot in lots if lot.outcome.terms.upgraded_from]
    for lot in sorted(reached, key=lambda lot: lot.outcome.terms.account):
        terms = lot.outcome.terms
        for op, since_us in zip(lot.ops, lot.instants, strict=True):
            if accounts.upgrade(
                tx, terms.account, terms.upgraded_from, terms.plan, since_us, f"upgrade:{op}"
            ):
                upgrades.append(Upgrade(terms.account, terms.plan, since_us))
    return upgrades
