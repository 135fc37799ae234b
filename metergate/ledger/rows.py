"""Usage rows on their way into the table, as each of the two databases takes them fastest.

What many rows have in common is written down once: as values for SQLite, as text for the COPY of PostgreSQL.
They go in the order in which they came: ids grow, and an index that grows at its end costs half of one that
grows everywhere.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from metergate.core.batch import Batch
from metergate.core.budget import QUOTA, Draw
from metergate.core.hold import Outcome, Terms
from metergate.ledger import bulk, tables
from metergate.ledger.database import Tx
from metergate.ledger.standing import Purse

S = TypeVar("S")
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


def insert(tx: Tx, batch: Batch, seqs: Seqs) -> set[str] | None:
    """Insert the rows that are new. None when all were, else the ids of those that were there before."""
    return _insert_sqlite(tx, batch, seqs) if tx.sqlite else _insert_postgres(tx, batch, seqs)


def quotas(terms: Terms) -> list[tuple[int, Draw]]:
    """The draws on windows, and their places among the amounts."""
    return [(at, draw) for at, draw in enumerate(terms.draws) if draw.kind == QUOTA]


class _Shared(NamedTuple):
    """What the rows of the same terms have in common, and how the budgets of theirs are written down."""

    fixed: tuple[Any, ...]
    seq: int
    budgets: list[tuple[int, str, str]]
    """Where an amount stands among the amounts, and what is written before and after it."""

    def budgets_of(self, amounts: tuple[int, ...]) -> str:
        written = [f"{before}{amounts[at]}{after}" for at, before, after in self.budgets if amounts[at]]
        return f"[{','.join(written)}]"


def _shared(org: int, terms: Terms, seqs: Seqs) -> _Shared:
    account, key, plan, policy, service, route, meter, currency, *_ = terms
    fixed = (org, account, key, plan, policy, service, route, meter, currency)
    budgets = [(at, f"[{_encode(draw.name).decode()},", f",{draw.until_us}]") for at, draw in quotas(terms)]
    return _Shared(fixed, seqs[account, currency], budgets)


def _ends(batch: Batch, share: Callable[[Terms], S], end: Callable[[Outcome, S], T]) -> dict[int, T]:
    """What the rows of each outcome have after their own columns, by the id of the outcome."""
    shared: dict[int, S] = {}
    ends: dict[int, T] = {}
    for place, outcome in {id(outcome): outcome for outcome in batch.outcomes}.items():
        terms = outcome.terms
        if id(terms) not in shared:
            shared[id(terms)] = share(terms)
        ends[place] = end(outcome, shared[id(terms)])
    return ends


@lru_cache(4096)
def _dimensions(dimensions: tuple[tuple[str, str], ...]) -> str:
    return _encode(dict(dimensions)).decode()


# -- SQLite ------------------------------------------------------------------------------------------------


def _insert_sqlite(tx: Tx, batch: Batch, seqs: Seqs) -> set[str] | None:
    last = tx.sql("SELECT coalesce(max(seq), 0) FROM usage").scalar_one()
    ends = _ends(batch, lambda terms: _shared(tx.org, terms, seqs), _values)
    if _insert_grouped(tx, batch, ends) == len(batch):
        return None
    # Whoever writes to SQLite writes alone, so the rows after the last one are this batch's.
    new = set(tx.sql("SELECT id FROM usage WHERE seq > ? AND org = ?", (last, tx.org)).scalars())
    return set(batch.ops) - new


def _insert_grouped(tx: Tx, batch: Batch, ends: Mapping[int, tuple[Any, ...]]) -> int:
    """Insert many rows of one outcome by statements that name its end once, the others in their order."""
    rows = zip(batch.ops, batch.request_ids, batch.instants, batch.paths, strict=True)
    if batch.alike:
        end = ends[id(batch.outcomes[0])]
        return bulk.insert_alike(tx, tables.usage, COLUMNS, rows, len(batch), end, _ONCE)
    places = list(map(id, batch.outcomes))
    alike: dict[int, list[tuple[Any, ...]]] = {
        place: [] for place, count in Counter(places).items() if count >= FEWEST_ALIKE
    }
    others: list[tuple[Any, ...]] = []
    for own, place in zip(rows, places, strict=True):
        if place in alike:
            alike[place].append(own)
        else:
            others.append((*own, *ends[place]))
    written = bulk.insert(tx, tables.usage, COLUMNS, others, _ONCE)
    for place, same in alike.items():
        written += bulk.insert_alike(tx, tables.usage, COLUMNS, same, len(same), ends[place], _ONCE)
    return written


def _values(outcome: Outcome, shared: _Shared) -> tuple[Any, ...]:
    units, dimensions, cost, measured, amounts, _ = outcome
    own = (_dimensions(dimensions), measured, units, cost, shared.budgets_of(amounts))
    return (*own, *shared.fixed, shared.seq if cost else None)


# -- PostgreSQL --------------------------------------------------------------------------------------------


def _insert_postgres(tx: Tx, batch: Batch, seqs: Seqs) -> set[str] | None:
    try:
        with tx.connection.begin_nested():
            _copy(tx, "usage", batch, seqs)
    except tx.driver.IntegrityError:
        return _insert_what_is_new(tx, batch, seqs)
    except tx.driver.DataError as error:
        raise ValueError(f"PostgreSQL cannot keep a value: {error}") from error
    return None


def _insert_what_is_new(tx: Tx, batch: Batch, seqs: Seqs) -> set[str]:
    tx.sql(_STAGE)
    _copy(tx, "batch", batch, seqs)
    known = set(tx.sql(_KEEP_NEW).scalars())
    tx.sql("DROP TABLE batch")
    return {op for op in batch.ops if op.replace("\x00", NO_NUL) in known}


def _copy(tx: Tx, table: str, batch: Batch, seqs: Seqs) -> None:
    ends = _ends(batch, lambda terms: _written(_shared(tx.org, terms, seqs)), _text)
    places = map(id, batch.outcomes)
    columns = (_plain(batch.ops), _plain(batch.request_ids), batch.instants, _plain(batch.paths), places)
    lines = zip(*columns, strict=True)
    cursor: Any = tx.connection.connection.cursor()
    with cursor, cursor.copy(f"COPY {table} ({NAMES}) FROM STDIN") as copy:
        while piece := [
            f"{op}\t{request_id}\t{at_us}\t{path}\t{ends[place]}"
            for op, request_id, at_us, path, place in islice(lines, PIECE)
        ]:
            copy.write("".join(piece))


def _written(shared: _Shared) -> _Shared:
    """The same, with texts as COPY reads them."""
    fixed = tuple([_escaped(str(each)) for each in shared.fixed])
    budgets = [(at, _escaped(before), after) for at, before, after in shared.budgets]
    return shared._replace(fixed=("\t".join(fixed),), budgets=budgets)


def _text(outcome: Outcome, shared: _Shared) -> str:
    units, dimensions, cost, measured, amounts, _ = outcome
    [fixed], seq, _ = shared
    own = f"{_kind(dimensions, measured)}\t{units}\t{cost}\t{shared.budgets_of(amounts)}"
    return f"{own}\t{fixed}\t{seq if cost else NULL}\n"


@lru_cache(4096)
def _kind(dimensions: tuple[tuple[str, str], ...], measured: str) -> str:
    return f"{_escaped(_dimensions(dimensions))}\t{_escaped(measured)}"


def _plain(texts: list[str]) -> list[str]:
    """Texts as COPY reads them."""
    return texts if _ODD.search("".join(texts)) is None else [_escaped(text) for text in texts]


def _escaped(text: str) -> str:
    return _ODD.sub(lambda odd: _COPIED[odd[0]], text)
