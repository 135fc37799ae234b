"""Double entry: every transaction's entries sum to zero in each currency.

    book      + means                            grant         usage        expiry   taken back
    credits   the customer has it, per grant     +A            -c each      -rest    -c each
    debt      (negative: the customer owes it)   +what it pays  -uncovered            -uncovered
    funding   (negative: credits were given)     -A                                  +C
    revenue   credits were used                                +C
    breakage  credits were never used                                       +rest

What a customer can spend is the sum of credits and debt.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from metergate.ledger import bulk, tables
from metergate.ledger.database import Select, Tx

CREDITS, DEBT, FUNDING, REVENUE, BREAKAGE = "credits", "debt", "funding", "revenue", "breakage"


class Line(NamedTuple):
    """An entry about to be written."""

    book: str
    currency: str
    amount: int
    grant: str | None = None


class Transaction(NamedTuple):
    seq: int
    id: str
    kind: str
    account: str
    at_us: int
    fingerprint: str


class Entry(NamedTuple):
    transaction: int
    line: int
    account: str
    book: str
    grant: str | None
    currency: str
    amount: int


def reserve(tx: Tx, count: int) -> list[int]:
    """Numbers for transactions about to be written; what is not used leaves a gap."""
    if tx.sqlite:
        last = tx.sql("SELECT coalesce(max(seq), 0) FROM transactions").scalar_one()
        return list(range(last + 1, last + 1 + count))
    numbers = "SELECT nextval('transactions_seq_seq') FROM generate_series(1, %s)"
    return list(tx.sql(numbers, (count,)).scalars())


def record(tx: Tx, written: Sequence[tuple[Transaction, Sequence[Line]]]) -> None:
    """Write transactions that balance; one that does not is a mistake of the program and stops everything."""
    for transaction, lines in written:
        _must_balance(transaction, lines)
    heads = [(t.seq, tx.org, *t[1:]) for t, _ in written]
    bulk.insert(tx, tables.transactions, ("seq", "org", *Transaction._fields[1:]), heads)
    rows = [
        (tx.org, t.seq, number, t.account, line.book, line.grant, line.currency, line.amount)
        for t, lines in written
        for number, line in enumerate(lines, 1)
    ]
    bulk.insert(tx, tables.entries, ("org", *Entry._fields), rows)


def get(tx: Tx, id: str) -> Transaction | None:
    table = tables.transactions
    return _first(tx, sa.select(*_columns(table, Transaction)).where(table.c.org == tx.org, table.c.id == id))


def page(tx: Tx, account: str | None = None, limit: int = 100, after: int = 0) -> list[Transaction]:
    """The newest first; `after` is the `seq` of the last one seen."""
    table = tables.transactions
    query = sa.select(*_columns(table, Transaction)).where(table.c.org == tx.org)
    if account is not None:
        query = query.where(table.c.account == account)
    if after:
        query = query.where(table.c.seq < after)
    return [Transaction(*row) for row in tx.execute(query.order_by(table.c.seq.desc()).limit(limit))]


def entries(tx: Tx, transaction_seqs: Sequence[int]) -> list[Entry]:
    """The entries of these transactions, in the order they were written."""
    table = tables.entries
    query = sa.select(*_columns(table, Entry)).where(
        table.c.org == tx.org, table.c.transaction.in_(transaction_seqs)
    )
    return [Entry(*row) for row in tx.execute(query.order_by(table.c.transaction, table.c.line))]


def _columns(table: sa.Table, shape: Any) -> list[sa.Column[Any]]:
    return [table.c[name] for name in shape._fields]


def _first(tx: Tx, query: Select) -> Transaction | None:
    row = tx.execute(query).first()
    return Transaction(*row) if row else None


def _must_balance(transaction: Transaction, lines: Sequence[Line]) -> None:
    sums: dict[str, int] = defaultdict(int)
    for line in lines:
        sums[line.currency] += line.amount
    if any(sums.values()) or not lines:
        raise ValueError(f"The entries of transaction {transaction.id} must sum to zero, not {dict(sums)}.")
