"""What has to hold in the ledger, as queries for what does not: each row that is found is a difference.

Sums are taken in halves of 32 bits, for SQLite refuses to add up what 64 bits cannot hold.
"""

# The queries are put together from words of our own.
# ruff: noqa: S608

from typing import Final, NamedTuple

from metergate.ledger.differences import ROWS, SNAPSHOT

MAX: Final = 2**63 - 1


class Check(NamedTuple):
    sentence: str
    """Its numbers are the columns of the query; the first names what the difference is about."""
    query: str
    figure: str
    expected: int | None = None
    """Which column says what it should be; None where nothing should be there."""
    found: int | None = None
    advice: str = ROWS


def _sum(amount: str) -> str:
    return f"(coalesce(sum({amount} >> 32), 0) * 4294967296 + coalesce(sum({amount} & 4294967295), 0))"


ENTRIES: Final = (
    Check(
        "Transaction {0} does not sum to zero in {1}: {2}.",
        f"""SELECT coalesce(t.id, 'number ' || CAST(e."transaction" AS TEXT)), e.currency,
            {_sum("e.amount")}, '0'
        FROM entries e LEFT JOIN transactions t ON t.org = e.org AND t.seq = e."transaction"
        WHERE e.org = :org GROUP BY e."transaction", t.id, e.currency HAVING {_sum("e.amount")} <> 0""",
        "sum",
        3,
        2,
    ),
    Check(
        "The entries of the whole ledger do not sum to zero in {0}: {1}.",
        f"""SELECT currency, {_sum("amount")}, '0' FROM entries WHERE org = :org
        GROUP BY currency HAVING {_sum("amount")} <> 0""",
        "sum",
        2,
        1,
    ),
    Check(
        "Transaction {0} has no entries.",
        """SELECT t.id FROM transactions t WHERE t.org = :org AND NOT EXISTS
        (SELECT 1 FROM entries e WHERE e.org = t.org AND e."transaction" = t.seq)""",
        "entries",
    ),
    Check(
        "Entry {1} of transaction number {0} belongs to a transaction that is not there.",
        """SELECT e."transaction", e.line FROM entries e WHERE e.org = :org AND NOT EXISTS
        (SELECT 1 FROM transactions t WHERE t.org = e.org AND t.seq = e."transaction")""",
        "transaction",
    ),
    Check(
        "Entry {1} of transaction {0} is of account {2}, the transaction of {3}.",
        """SELECT t.id, e.line, e.account, t.account FROM entries e
        JOIN transactions t ON t.org = e.org AND t.seq = e."transaction"
        WHERE e.org = :org AND e.account <> t.account""",
        "account",
        3,
        2,
    ),
    Check(
        "Entry {1} of transaction {0} names the grant {2}, which is not there or not the account's.",
        """SELECT t.id, e.line, e."grant" FROM entries e
        JOIN transactions t ON t.org = e.org AND t.seq = e."transaction"
        LEFT JOIN grants g ON g.org = e.org AND g.id = e."grant" AND g.account = e.account
        WHERE e.org = :org AND e.book = 'credits' AND g.id IS NULL""",
        "grant",
        None,
        2,
    ),
)

USAGE: Final = (
    Check(
        "The call {0} has {1} ends.",
        "SELECT id, count(*), '1' FROM usage WHERE org = :org GROUP BY id HAVING count(*) > 1",
        "ends",
        2,
        1,
    ),
    Check(
        "Usage {0} costs {1} and no transaction charges it.",
        """SELECT u.id, u.cost, '0' FROM usage u
        LEFT JOIN transactions t ON t.org = u.org AND t.seq = u."transaction" AND t.kind = 'usage'
        WHERE u.org = :org AND u.cost <> 0 AND t.seq IS NULL""",
        "charged",
        1,
        2,
    ),
    Check(
        "Usage {0} of account {1} is charged by transaction {2} of account {3}.",
        """SELECT u.id, u.account, t.id, t.account FROM usage u
        JOIN transactions t ON t.org = u.org AND t.seq = u."transaction"
        WHERE u.org = :org AND u.account <> t.account""",
        "account",
        3,
        1,
    ),
    Check(
        "Transaction {0} charges {1}, its usage rows cost {2}.",
        f"""SELECT t.id, coalesce(e.charged, 0), coalesce(u.cost, 0) FROM transactions t
        LEFT JOIN (SELECT "transaction" AS seq, {_sum("amount")} AS charged FROM entries
            WHERE org = :org AND book = 'revenue' GROUP BY "transaction") e ON e.seq = t.seq
        LEFT JOIN (SELECT "transaction" AS seq, {_sum("cost")} AS cost FROM usage
            WHERE org = :org GROUP BY "transaction") u ON u.seq = t.seq
        WHERE t.org = :org AND coalesce(e.charged, 0) <> coalesce(u.cost, 0)""",
        "charged",
        2,
        1,
    ),
    Check(
        "Transaction {0} was written for {1}, and has {2} rows, {3} nanos.",
        f"""SELECT t.id, t.fingerprint, u.rows, u.cost,
            CAST(u.rows AS TEXT) || ' rows, ' || CAST(u.cost AS TEXT) || ' nanos' FROM transactions t
        JOIN (SELECT "transaction" AS seq, count(*) AS rows, {_sum("cost")} AS cost FROM usage
            WHERE org = :org GROUP BY "transaction") u ON u.seq = t.seq
        WHERE t.org = :org AND t.fingerprint <>
            CAST(u.rows AS TEXT) || ' rows, ' || CAST(u.cost AS TEXT) || ' nanos'""",
        "usage rows",
        1,
        4,
    ),
)

GRANTS: Final = (
    Check(
        "Grant {0} of {1} was funded with {2}.",
        f"""SELECT g.id, g.amount, {_sum("-e.amount")} FROM grants g
        LEFT JOIN transactions t ON t.org = g.org AND t.id = 'grant:' || g.id AND t.account = g.account
        LEFT JOIN entries e ON e.org = t.org AND e."transaction" = t.seq AND e.book = 'funding'
        WHERE g.org = :org GROUP BY g.id, g.amount HAVING {_sum("-e.amount")} <> g.amount""",
        "funding",
        1,
        2,
    ),
    Check(
        "Transaction {0} funds a grant that is not there.",
        """SELECT t.id FROM transactions t WHERE t.org = :org AND t.id LIKE 'grant:%' AND NOT EXISTS
        (SELECT 1 FROM grants g WHERE g.org = t.org AND t.id = 'grant:' || g.id)""",
        "grant",
    ),
    Check(
        "Transaction {0} ends a grant before its time, or one that has no end.",
        """SELECT t.id FROM transactions t WHERE t.org = :org AND t.kind = 'expire' AND NOT EXISTS
        (SELECT 1 FROM grants g
            WHERE g.org = t.org AND t.id = 'expire:' || g.id AND g.expires_at_us <= t.at_us)""",
        "expiry",
    ),
    Check(
        "Grant {0} paid {1} more than it had.",
        f"""SELECT "grant", {_sum("-amount")}, '0' FROM entries
        WHERE org = :org AND book = 'credits' AND "grant" IS NOT NULL
        GROUP BY "grant" HAVING {_sum("amount")} < 0""",
        "paid too much",
        2,
        1,
    ),
    Check(
        "Account {0} paid {1} {2} nanos of debt that it did not have.",
        f"""SELECT account, {_sum("amount")}, currency, '0' FROM entries WHERE org = :org AND book = 'debt'
        GROUP BY account, currency HAVING {_sum("amount")} > 0""",
        "debt",
        3,
        1,
    ),
)

_HALVES: Final = "{0} >> 32 AS {1}_high, {0} & 4294967295 AS {1}_low"
# The sum of the upper halves may be beyond what fits, when that of the lower ones brings it back.
_LOW_SUM: Final = "CAST(sum(derived_low) AS BIGINT)"
_HIGH: Final = f"(CAST(sum(derived_high) AS BIGINT) + ({_LOW_SUM} >> 32))"
_LOW: Final = f"({_LOW_SUM} & 4294967295)"
_WHOLE: Final = f"(({_HIGH} << 32) | {_LOW})"


def _kept_and_derived(kept: str, derived: str, names: str, value: str) -> str:
    """The names whose kept value is another than the derived; neither has to fit into memory."""
    said = f"CAST(sum({value}) AS BIGINT)"
    return f"""SELECT {names}, {said}, {_WHOLE} FROM (
        SELECT {names}, {value}, 0 AS derived_high, 0 AS derived_low FROM {kept} WHERE org = :org
        UNION ALL SELECT {names}, 0, {_HALVES.format("amount", "derived")} FROM {derived}
        ) both_ways GROUP BY {names} HAVING {said} >> 32 <> {_HIGH} OR {said} & 4294967295 <> {_LOW}"""


_OF_ENTRIES: Final = "entries WHERE org = :org AND book IN {0}"

SNAPSHOTS: Final = (
    Check(
        "The balance of account {0} {1} is kept as {2}, and comes to {3}.",
        _kept_and_derived(
            "account_balances", _OF_ENTRIES.format("('credits', 'debt')"), "account, currency", "balance"
        ),
        "balance",
        3,
        2,
        SNAPSHOT,
    ),
    Check(
        "The debt of account {0} {1} is kept as {2}, and comes to {3}.",
        _kept_and_derived(
            "account_balances",
            "(SELECT account, currency, -amount AS amount FROM entries"
            " WHERE org = :org AND book = 'debt') owed",
            "account, currency",
            "debt",
        ),
        "debt",
        3,
        2,
        SNAPSHOT,
    ),
    Check(
        "The rest of grant {0} is kept as {1}, and comes to {2}.",
        _kept_and_derived(
            "grant_balances",
            _OF_ENTRIES.format("('credits')") + ' AND "grant" IS NOT NULL',
            '"grant"',
            "remaining",
        ),
        "rest",
        2,
        1,
        SNAPSHOT,
    ),
)

_BUDGETS_SQLITE: Final = """
    SELECT json_extract(b.value, '$[0]') AS name, json_extract(b.value, '$[1]') AS amount
    FROM usage u, json_each(u.budgets) b WHERE u.org = :org AND u.budgets <> '[]'"""
_BUDGETS_POSTGRES: Final = """
    SELECT b.value ->> 0 AS name, CAST(b.value ->> 1 AS BIGINT) AS amount
    FROM usage u CROSS JOIN LATERAL json_array_elements(CAST(u.budgets AS JSON)) b (value)
    WHERE u.org = :org AND u.budgets <> '[]'"""


def windows(*, sqlite: bool) -> Check:
    """The totals of windows follow from the usage rows; a full counter stays full."""
    comes_to = f"CASE WHEN {_HIGH} > 2147483647 THEN {MAX} ELSE {_WHOLE} END"
    return Check(
        "The total of window {0} is kept as {1}, and comes to {2}.",
        f"""SELECT name, CAST(sum(value) AS BIGINT), {comes_to} FROM (
        SELECT name, value, 0 AS derived_high, 0 AS derived_low FROM window_totals WHERE org = :org
        UNION ALL SELECT name, 0, {_HALVES.format("amount", "derived")}
        FROM ({_BUDGETS_SQLITE if sqlite else _BUDGETS_POSTGRES}) counted
        ) both_ways GROUP BY name HAVING CAST(sum(value) AS BIGINT) <> {comes_to}""",
        "total",
        2,
        1,
        SNAPSHOT,
    )
