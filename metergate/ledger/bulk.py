"""Many rows at once in the drivers' own SQL, which costs a fraction of a compiled statement per row.

SQLite binds row after row; PostgreSQL takes one array per column, so that a batch is one statement.
Names of tables and columns come from `tables`, never from outside; values are always bound.
"""

# ruff: noqa: S608

import json
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

import sqlalchemy as sa

from metergate.ledger.database import Rows, Tx

FEWEST_ALIKE: Final = 8
MOST_ALIKE: Final = 256


def insert(
    tx: Tx, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], then: str = ""
) -> int:
    """Insert the rows and say how many were written; `then` is an ON CONFLICT clause."""
    if not rows:
        return 0
    text = _insert(table, tuple(columns), tx.sqlite) + " " + then
    if tx.sqlite:
        return tx.sql(text, rows).rowcount
    return tx.sql(text, tuple(map(list, zip(*rows, strict=True)))).rowcount


def insert_alike(
    tx: Tx,
    table: sa.Table,
    columns: Sequence[str],
    own: Sequence[Sequence[Any]],
    end: tuple[Any, ...],
    then: str,
) -> int:
    """Insert rows into SQLite that all end with the same values, and say how many were written.

    `own` are the first columns, each with a value for every row.
    """
    # Row after row, the driver lets go of the interpreter and asks for it back, which costs more than the row
    # when another thread is busy. Few statements of a fixed size are prepared once, and give it back once.
    start = written = 0
    count = len(own[0])
    while count - start >= FEWEST_ALIKE:
        size = MOST_ALIKE
        while size > count - start:
            size //= 2
        text = _alike(table, tuple(columns), len(own), size) + " " + then
        rows = zip(*[values[start : start + size] for values in own], strict=True)
        written += tx.sql(text, (*end, *chain.from_iterable(rows))).rowcount
        start += size
    rest = zip(*[values[start:] for values in own], strict=True)
    return written + insert(tx, table, columns, [(*row, *end) for row in rest], then)


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
    return tx.sql(text.format(among=f"{column} = ANY(%s::text[])", _="%s"), (*parameters, list(values)))


@cache
def _alike(table: sa.Table, columns: tuple[str, ...], own: int, size: int) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    firsts = ", ".join(f"column{number}" for number in range(1, own + 1))
    ends = ", ".join("?" for _ in columns[own:])
    row = f"({', '.join('?' for _ in range(own))})"
    values = ", ".join([row] * size)
    # WHERE keeps SQLite from reading an ON CONFLICT behind this as the ON of a join.
    return f"INSERT INTO {table.name} ({names}) SELECT {firsts}, {ends} FROM (VALUES {values}) WHERE true"


@cache
def _insert(table: sa.Table, columns: tuple[str, ...], sqlite: bool) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    if sqlite:
        return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' for _ in columns)})"
    arrays = ", ".join(f"%s::{array_type(table.c[name])}[]" for name in columns)
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"


def array_type(column: sa.Column[Any]) -> str:
    for kind, name in ((sa.BigInteger, "bigint"), (sa.Boolean, "boolean"), (sa.LargeBinary, "bytea")):
        if isinstance(column.type, kind):
            return name
    return "text"
