"""Many rows at once in the drivers' own SQL, which costs a fraction of a compiled statement per row.

SQLite takes some hundred rows in one statement; PostgreSQL takes one array per column, so that a batch is one
statement. Names of tables and columns come from `tables`, never from outside; values are always bound.
"""

# ruff: noqa: S608

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, Final

import sqlalchemy as sa

from metergate.ledger.database import Rows, Tx

SIZES: Final = (256, 32, 4, 1)
"""How many rows a statement for SQLite may have: a few numbers, so that each is prepared once."""
_ODD: Final = re.compile(r'["\\]')
_QUOTED: Final = {'"': '\\"', "\\": "\\\\"}


def insert(
    tx: Tx, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], then: str = ""
) -> int:
    """Insert the rows and say how many were written; `then` is an ON CONFLICT clause."""
    if not rows:
        return 0
    if tx.sqlite:
        return insert_alike(tx, table, columns, rows, len(rows), (), then)
    arrays = [
        _array(table.c[name], values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    return tx.sql(_postgres(table, tuple(columns)) + " " + then, tuple(arrays)).rowcount


def insert_alike(
    tx: Tx,
    table: sa.Table,
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
    count: int,
    end: tuple[Any, ...],
    then: str,
) -> int:
    """Insert rows into SQLite that all go on with the values of `end`, and say how many were written."""
    # Row after row, the driver lets go of the interpreter and asks for it back, which costs more than the row
    # when another thread is busy. A statement of many rows gives it back once.
    values = chain.from_iterable(rows)
    own = len(columns) - len(end)
    written = 0
    for size in SIZES:
        text = _sqlite(table, tuple(columns), own, size) + " " + then
        for _ in range(count // size):
            written += tx.sql(text, (*end, *islice(values, size * own))).rowcount
        count %= size
    return written


def replace(tx: Tx, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert the rows, or put their values in the place of the ones with the same primary key."""
    keys = [column.name for column in table.primary_key]
    values = ", ".join(f'"{name}" = excluded."{name}"' for name in columns if name not in keys)
    quoted = ", ".join(f'"{name}"' for name in keys)
    insert(tx, table, columns, rows, f"ON CONFLICT ({quoted}) DO UPDATE SET {values}")


def among(tx: Tx, column: str, values: Sequence[str], parameters: Sequence[Any], text: str) -> Rows:
    """Run `text`, whose `{among}` is "the column is one of the values" and whose other marks are `{_}`."""
    if tx.sqlite:
        fragment = f"{column} IN (SELECT value FROM json_each(?))"
        return tx.sql(text.format(among=fragment, _="?"), (*parameters, json.dumps(list(values))))
    return tx.sql(text.format(among=f"{column} = ANY(%s::text[])", _="%s"), (*parameters, _texts(values)))


@cache
def _sqlite(table: sa.Table, columns: tuple[str, ...], own: int, size: int) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    selected = ", ".join(
        [*(f"column{number}" for number in range(1, own + 1)), *("?" for _ in columns[own:])]
    )
    values = ", ".join([f"({', '.join('?' for _ in range(own))})"] * size)
    # WHERE keeps SQLite from reading an ON CONFLICT behind this as the ON of a join.
    return f"INSERT INTO {table.name} ({names}) SELECT {selected} FROM (VALUES {values}) WHERE true"


@cache
def _postgres(table: sa.Table, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    arrays = ", ".join(f"%s::{_type(table.c[name])}[]" for name in columns)
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"


def _type(column: sa.Column[Any]) -> str:
    for kind, name in ((sa.BigInteger, "bigint"), (sa.Boolean, "boolean"), (sa.LargeBinary, "bytea")):
        if isinstance(column.type, kind):
            return name
    return "text"


def _array(column: sa.Column[Any], values: Sequence[Any]) -> str:
    """The values as PostgreSQL writes an array, at a tenth of what the driver takes for each of them."""
    kind = _type(column)
    if kind == "text":
        return _texts(values)
    if kind == "bytea":
        return _texts([None if value is None else f"\\x{value.hex()}" for value in values])
    return f"{{{','.join(map(str, values))}}}".replace("None", "NULL")


def _texts(values: Sequence[str | None]) -> str:
    if None in values or _ODD.search("".join(values)):  # type: ignore[arg-type]  # there is no None in it
        return f"{{{','.join(map(_text, values))}}}"
    return '{"' + '","'.join(values) + '"}' if values else "{}"  # type: ignore[arg-type]  # nor here


def _text(value: str | None) -> str:
    return "NULL" if value is None else f'"{_ODD.sub(lambda odd: _QUOTED[odd[0]], value)}"'
