"""Usage rows on their way into the table, as each of the two databases takes them fastest.

What the rows of a lot have in common is written down once: as values for SQLite, as text for the COPY of
PostgreSQL.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from metergate.core.budget import QUOTA, Draw
from metergate.core.hold import Outcome
from metergate.core.lots import Lot, Lots
from metergate.ledger import bulk, tables
from metergate.ledger.database import Tx
from metergate.ledger.standing import Purse

T = TypeVar("T")

# What is an event's own, what it shares with events of the same outcome, and with those of the same terms.
COLUMNS: Final = (
    "id",
    "request_id",
    "at_us",
    "path",
    "dimensions",
    "measured",
    "units",
    "cost",
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
FEWEST_ALIKE: Final = 64
"""Fewer rows of one outcome are not worth a statement of their own."""
_ONCE: Final = "ON CONFLICT DO NOTHING"
# A batch whose rows are partly there already goes through a table of its own, which tells the new ones.
_STAGE: Final = "CREATE TEMPORARY TABLE batch (LIKE usage INCLUDING DEFAULTS) ON COMMIT DROP"
_KEEP_NEW: Final = f"""
WITH new AS (INSERT INTO usage ({NAMES}) SELECT {NAMES} FROM batch ON CONFLICT DO NOTHING RETURNING id)
SELECT id FROM batch WHERE id NOT IN (SELECT id FROM new)
"""  # noqa: S608 - the names of our own columns
NULL: Final = "\\N"
PIECE: Final = 256
"""How many lines go to PostgreSQL at once."""
_ODD: Final = re.compile(r"[\\\t\n\r\x00]")
NO_NUL: Final = "\ufffd"
"""PostgreSQL has no NUL in texts, and one odd call must not hold up all the others."""
_COPIED: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\x00": NO_NUL}
_encode = msgspec.json.encode

Seqs = Mapping[Purse, int]
"""The number of the transaction that charges a purse."""


def insert(tx: Tx, lots: Lots, seqs: Seqs) -> set[str] | None:
    """Insert the rows that are new. None when all were, else the ids of those that were there before."""
    return _insert_sqlite(tx, lots, seqs) if tx.sqlite else _insert_postgres(tx, lots, seqs)


def quotas(lot: Lot) -> list[tuple[int, Draw]]:
    """The draws on windows, and their places among the amounts."""
    return [(at, draw) for at, draw in enumerate(lot.terms.draws) if draw.kind == QUOTA]


class _Shared(NamedTuple):
    """What the rows of a lot have in common, and what it takes to write down an outcome of theirs."""

    fixed: tuple[Any, ...]
    budgets: list[tuple[int, str, str]]
    """Where an amount stands among the amounts, and what is written before and after it."""

    def budgets_of(self, amounts: tuple[int, ...]) -> str:
        written = [f"{before}{amounts[at]}{after}" for at, before, after in self.budgets if amounts[at]]
        return f"[{','.join(written)}]"


def _shared(org: int, lot: Lot, seqs: Seqs, written: Callable[[str], str]) -> _Shared:
    account, key, plan, policy, service, route, meter, currency, *_ = lot.terms
    seq = seqs[account, currency] if lot.charged else None
    budgets = [
        (at, written(f"[{_encode(draw.name).decode()},"), f",{draw.until_us}]") for at, draw in quotas(lot)
    ]
    return _Shared((org, account, key, plan, policy, service, route, meter, currency, seq), budgets)


def _of_each(lot: Lot, work: Callable[[Outcome], T]) -> list[T]:
    """What the work makes of the outcome of each event; of each outcome once."""
    if lot.alike:
        return [work(lot.outcomes[0])] * len(lot.outcomes)
    different = {id(outcome): outcome for outcome in lot.outcomes}
    made = {place: work(outcome) for place, outcome in different.items()}
    return [made[id(outcome)] for outcome in lot.outcomes]


@lru_cache(4096)
def _dimensions(dimensions: tuple[tuple[str, str], ...]) -> str:
    return _encode(dict(dimensions)).decode()


# -- SQLite ------------------------------------------------------------------------------------------------


def _insert_sqlite(tx: Tx, lots: Lots, seqs: Seqs) -> set[str] | None:
    last = tx.sql("SELECT coalesce(max(seq), 0) FROM usage").scalar_one()
    written = 0
    others: list[tuple[Any, ...]] = []
    for lot in lots:
        count = len(lot.ops)
        own = zip(lot.ops, lot.request_ids, lot.instants, lot.paths, strict=True)
        ends = _values(lot, _shared(tx.org, lot, seqs, str))
        if count >= FEWEST_ALIKE and lot.alike:
            written += bulk.insert_alike(tx, tables.usage, COLUMNS, own, count, ends[0], _ONCE)
        else:
            others += [(*each, *end) for each, end in zip(own, ends, strict=True)]
    written += bulk.insert(tx, tables.usage, COLUMNS, others, _ONCE)
    if written == len(lots):
        return None
    # Whoever writes to SQLite writes alone, so the rows after the last one are this batch's.
    new = set(tx.sql("SELECT id FROM usage WHERE seq > ? AND org = ?", (last, tx.org)).scalars())
    return {op for lot in lots for op in lot.ops} - new


def _values(lot: Lot, shared: _Shared) -> Sequence[tuple[Any, ...]]:
    """The end of each row."""

    def end(outcome: Outcome) -> tuple[Any, ...]:
        units, dimensions, cost, measured, amounts, _ = outcome
        own = (_dimensions(dimensions), measured, units, cost, shared.budgets_of(amounts))
        return (*own, *shared.fixed)

    return _of_each(lot, end)


# -- PostgreSQL --------------------------------------------------------------------------------------------


def _insert_postgres(tx: Tx, lots: Lots, seqs: Seqs) -> set[str] | None:
    try:
        with tx.connection.begin_nested():
            _copy(tx, "usage", lots, seqs)
    except tx.driver.IntegrityError:
        return _insert_what_is_new(tx, lots, seqs)
    except tx.driver.DataError as error:
        raise ValueError(f"PostgreSQL cannot keep a value: {error}") from error
    return None


def _insert_what_is_new(tx: Tx, lots: Lots, seqs: Seqs) -> set[str]:
    tx.sql(_STAGE)
    _copy(tx, "batch", lots, seqs)
    known = set(tx.sql(_KEEP_NEW).scalars())
    tx.sql("DROP TABLE batch")
    return {op for lot in lots for op in lot.ops if op.replace("\x00", NO_NUL) in known}


def _copy(tx: Tx, table: str, lots: Lots, seqs: Seqs) -> None:
    cursor: Any = tx.connection.connection.cursor()
    with cursor, cursor.copy(f"COPY {table} ({NAMES}) FROM STDIN") as copy:
        lines = chain.from_iterable(_lines(tx.org, lot, seqs) for lot in lots)
        while piece := [
            f"{op}\t{request_id}\t{at_us}\t{path}\t{end}"
            for op, request_id, at_us, path, end in islice(lines, PIECE)
        ]:
            copy.write("".join(piece))


def _lines(org: int, lot: Lot, seqs: Seqs) -> Iterator[tuple[str, str, int, str, str]]:
    ends = _texts(lot, _shared(org, lot, seqs, _written))
    return zip(
        _copied(lot.ops), _copied(lot.request_ids), lot.instants, _copied(lot.paths), ends, strict=True
    )


def _texts(lot: Lot, shared: _Shared) -> Sequence[str]:
    """The end of each line."""
    fixed = "\t".join([NULL if each is None else _written(str(each)) for each in shared.fixed]) + "\n"

    def end(outcome: Outcome) -> str:
        units, dimensions, cost, measured, amounts, _ = outcome
        return f"{_kind(dimensions, measured)}\t{units}\t{cost}\t{shared.budgets_of(amounts)}\t{fixed}"

    return _of_each(lot, end)


@lru_cache(4096)
def _kind(dimensions: tuple[tuple[str, str], ...], measured: str) -> str:
    return f"{_written(_dimensions(dimensions))}\t{_written(measured)}"


def _copied(texts: list[str]) -> list[str]:
    """Texts as COPY reads them."""
    return texts if _ODD.search("".join(texts)) is None else [_written(text) for text in texts]


def _written(text: str) -> str:
    return _ODD.sub(lambda odd: _COPIED[odd[0]], text)
