"""Proof from the ledger itself: everything is derived again and compared; each difference is one sentence.

Nothing found means: every transaction balances, every charged call is in exactly one transaction that charges
exactly its cost, every grant was funded once, and every snapshot says what the entries say.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa

from metergate.ledger import tables
from metergate.ledger.balances import Left, complete, derived_accounts, derived_grants, derived_windows
from metergate.ledger.database import Tx

# A sentence about a row, and the query that finds such rows.
_CHECKS: Final = {
    "Transaction {0} does not sum to zero in {1}: {2}.": """
        SELECT coalesce(t.id, 'number ' || CAST(e."transaction" AS TEXT)), e.currency, sum(e.amount)
        FROM entries e LEFT JOIN transactions t ON t.org = e.org AND t.seq = e."transaction"
        WHERE e.org = :org GROUP BY e."transaction", t.id, e.currency HAVING sum(e.amount) <> 0""",
    "The entries of the whole ledger do not sum to zero in {0}: {1}.": """
        SELECT currency, total FROM (
            SELECT currency, sum(amount >> 32) * 4294967296 + sum(amount & 4294967295) AS total
            FROM entries WHERE org = :org GROUP BY currency) sums
        WHERE total <> 0""",
    "Transaction {0} has no entries.": """
        SELECT t.id FROM transactions t WHERE t.org = :org AND NOT EXISTS
        (SELECT 1 FROM entries e WHERE e.org = t.org AND e."transaction" = t.seq)""",
    "Entry {1} of transaction number {0} belongs to a transaction that is not there.": """
        SELECT e."transaction", e.line FROM entries e WHERE e.org = :org AND NOT EXISTS
        (SELECT 1 FROM transactions t WHERE t.org = e.org AND t.seq = e."transaction")""",
    "Entry {1} of transaction {0} is of account {2}, the transaction of {3}.": """
        SELECT t.id, e.line, e.account, t.account FROM entries e
        JOIN transactions t ON t.org = e.org AND t.seq = e."transaction"
        WHERE e.org = :org AND e.account <> t.account""",
    "Entry {1} of transaction {0} names the grant {2}, which is not there or not the account's.": """
        SELECT t.id, e.line, e."grant" FROM entries e
        JOIN transactions t ON t.org = e.org AND t.seq = e."transaction"
        LEFT JOIN grants g ON g.org = e.org AND g.id = e."grant" AND g.account = e.account
        WHERE e.org = :org AND e.book = 'credits' AND g.id IS NULL""",
    "Usage {0} costs {1} and no transaction charges it.": """
        SELECT u.id, u.cost FROM usage u
        LEFT JOIN transactions t ON t.org = u.org AND t.seq = u."transaction" AND t.kind = 'usage'
        WHERE u.org = :org AND u.cost <> 0 AND t.seq IS NULL""",
    "Usage {0} of account {1} is charged by transaction {2} of account {3}.": """
        SELECT u.id, u.account, t.id, t.account FROM usage u
        JOIN transactions t ON t.org = u.org AND t.seq = u."transaction"
        WHERE u.org = :org AND u.account <> t.account""",
    "Transaction {0} charges {1}, its usage rows cost {2}.": """
        SELECT t.id, coalesce(e.charged, 0), coalesce(u.cost, 0) FROM transactions t
        LEFT JOIN (SELECT "transaction" AS seq, sum(amount) AS charged FROM entries
            WHERE org = :org AND book = 'revenue' GROUP BY "transaction") e ON e.seq = t.seq
        LEFT JOIN (SELECT "transaction" AS seq, sum(cost) AS cost FROM usage
            WHERE org = :org GROUP BY "transaction") u ON u.seq = t.seq
        WHERE t.org = :org AND coalesce(e.charged, 0) <> coalesce(u.cost, 0)""",
    "Transaction {0} was written for {1}, and has {2} rows, {3} nanos.": """
        SELECT t.id, t.fingerprint, u.rows, u.cost FROM transactions t
        JOIN (SELECT "transaction" AS seq, count(*) AS rows, sum(cost) AS cost FROM usage
            WHERE org = :org GROUP BY "transaction") u ON u.seq = t.seq
        WHERE t.org = :org AND t.fingerprint <>
            CAST(u.rows AS TEXT) || ' rows, ' || CAST(u.cost AS TEXT) || ' nanos'""",
    "Grant {0} of {1} was funded with {2}.": """
        SELECT g.id, g.amount, coalesce(sum(-e.amount), 0) FROM grants g
        LEFT JOIN transactions t ON t.org = g.org AND t.id = 'grant:' || g.id AND t.account = g.account
        LEFT JOIN entries e ON e.org = t.org AND e."transaction" = t.seq AND e.book = 'funding'
        WHERE g.org = :org GROUP BY g.id, g.amount HAVING coalesce(sum(-e.amount), 0) <> g.amount""",
    "Transaction {0} funds a grant that is not there.": """
        SELECT t.id FROM transactions t WHERE t.org = :org AND t.kind = 'grant' AND NOT EXISTS
        (SELECT 1 FROM grants g WHERE g.org = t.org AND t.id = 'grant:' || g.id)""",
    "Transaction {0} ends a grant before its time, or one that has no end.": """
        SELECT t.id FROM transactions t WHERE t.org = :org AND t.kind = 'expire' AND NOT EXISTS
        (SELECT 1 FROM grants g
            WHERE g.org = t.org AND t.id = 'expire:' || g.id AND g.expires_at_us <= t.at_us)""",
}


def verify(tx: Tx) -> list[str]:
    """Every difference in the ledger of the organisation; an empty list is the proof."""
    if not tx.sqlite:
        # Without fresh statistics the planner may compare every row with every other.
        tx.sql("SET LOCAL enable_nestloop TO off")
    return [*_rows(tx), *_below_zero(tx), *_snapshots(tx)]


def _rows(tx: Tx) -> Iterator[str]:
    for sentence, query in _CHECKS.items():
        for row in tx.execute(sa.text(query), {"org": tx.org}):
            yield sentence.format(*row)


def _below_zero(tx: Tx) -> Iterator[str]:
    for grant, left in derived_grants(tx).items():
        if left < 0:
            yield f"Grant {grant} paid {-left} more than it had."
    for (account, currency), standing in derived_accounts(tx).items():
        if standing.debt < 0:
            yield f"Account {account} paid {-standing.debt} {currency} nanos of debt that it did not have."


def _snapshots(tx: Tx) -> Iterator[str]:
    if not complete(tx):
        return
    accounts, grants, windows = tables.account_balances.c, tables.grant_balances.c, tables.window_totals.c
    balances = sa.select(accounts.account, accounts.currency, accounts.balance, accounts.debt)
    kept = {
        (row[0], row[1]): Left(row[2], row[3]) for row in tx.execute(balances.where(accounts.org == tx.org))
    }
    yield from _differences("The balance of account", kept, derived_accounts(tx), Left(0, 0))
    left = sa.select(grants.grant, grants.remaining).where(grants.org == tx.org)
    yield from _differences(
        "The rest of grant", {r[0]: r[1] for r in tx.execute(left)}, derived_grants(tx), 0
    )
    totals = sa.select(windows.name, windows.value).where(windows.org == tx.org)
    derived = {name: value for name, (value, _) in derived_windows(tx).items()}
    yield from _differences("The total of window", {r[0]: r[1] for r in tx.execute(totals)}, derived, 0)


def _differences(
    what: str, kept: Mapping[Any, Any], derived: Mapping[Any, Any], none: object
) -> Iterator[str]:
    for name in sorted(kept.keys() | derived.keys(), key=str):
        said, is_ = kept.get(name, none), derived.get(name, none)
        if said != is_:
            yield f"{what} {_plain(name)} is kept as {_plain(said)}, and comes to {_plain(is_)}."


def _plain(value: object) -> str:
    if isinstance(value, Left):
        return f"{value.balance} with a debt of {value.debt}"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
