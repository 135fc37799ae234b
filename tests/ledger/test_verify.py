"""`verify` finds every corruption that is planted: the guards are taken away first, as a vandal would."""

from contextlib import closing
from pathlib import Path

import pytest

from metergate.ledger import Ledger, grants, tables
from metergate.ledger.posting import post
from tests.ledger.calls import START, USD, call, differences, guards_away, is_found, open_account

DAY = 86400 * 10**6

USAGE_SEQ = "(SELECT seq FROM transactions WHERE kind = 'usage')"
GRANT_SEQ = "(SELECT seq FROM transactions WHERE id = 'grant:first-a')"

CORRUPTIONS = {
    "an amount was changed": (
        "UPDATE entries SET amount = amount + 1 WHERE book = 'revenue'",
        "does not sum to zero in USD: 1",
    ),
    "an entry was taken away": ("DELETE FROM entries WHERE book = 'funding'", "does not sum to zero"),
    "entries lost their transaction": ("DELETE FROM transactions WHERE kind = 'expire'", "that is not there"),
    "a transaction lost its entries": (
        f'DELETE FROM entries WHERE "transaction" = {USAGE_SEQ}',
        "has no entries",
    ),
    "a cost was changed": ("UPDATE usage SET cost = cost + 5 WHERE id = 'op'", "its usage rows cost"),
    "a usage row was taken away": ("DELETE FROM usage WHERE id = 'op'", "its usage rows cost"),
    "a free row was added to a transaction": (
        f"UPDATE usage SET \"transaction\" = {USAGE_SEQ} WHERE id = 'free'",
        "was written for 1 rows",
    ),
    "a charge was forgotten": ('UPDATE usage SET "transaction" = NULL', "no transaction charges it"),
    "usage was moved to another account": (
        "UPDATE usage SET account = 'b' WHERE id = 'op'",
        "of account b is charged",
    ),
    "an entry was moved to another account": (
        "UPDATE entries SET account = 'b' WHERE book = 'revenue'",
        "is of account b, the transaction of a",
    ),
    "a grant was enlarged": (
        "UPDATE grants SET amount = amount + 1 WHERE id = 'first-a'",
        "was funded with",
    ),
    "a grant was never posted": (
        """INSERT INTO grants SELECT 99, org, 'extra', account, currency, amount, priority, promotional,
        effective_at_us, expires_at_us, memo, created_at_us FROM grants WHERE id = 'first-a'""",
        "Grant extra of 10000000000 was funded with 0",
    ),
    "a grant vanished": ("DELETE FROM grants WHERE id = 'first-a'", "funds a grant that is not there"),
    "a grant was posted twice": (
        f"""INSERT INTO transactions SELECT 99, org, 'grant:again', kind, account, at_us, fingerprint
        FROM transactions WHERE id = 'grant:first-a'; INSERT INTO entries SELECT org, 99, line, account,
        book, "grant", currency, amount FROM entries WHERE "transaction" = {GRANT_SEQ}""",
        "grant:again funds a grant that is not there",
    ),
    "credits name an unknown grant": (
        "UPDATE entries SET \"grant\" = 'nowhere' WHERE book = 'credits'",
        "names the grant nowhere",
    ),
    "a grant ended too soon": ("UPDATE grants SET expires_at_us = NULL", "ends a grant before its time"),
    "a grant paid more than it had": (
        f'UPDATE entries SET amount = amount * 100 WHERE "transaction" = {USAGE_SEQ}',
        "more than it had",
    ),
    "a debt was paid that nobody had": (
        """INSERT INTO entries SELECT org, "transaction", 8, account, 'debt', NULL, currency, 5
        FROM entries WHERE book = 'revenue'""",
        "of debt that it did not have",
    ),
    "a balance was changed": (
        "UPDATE account_balances SET balance = balance + 1 WHERE account = 'a'",
        "The balance of account a USD is kept as",
    ),
    "a balance vanished": ("DELETE FROM account_balances", "The balance of account a USD is kept as 0"),
    "the rest of a grant was changed": (
        "UPDATE grant_balances SET remaining = 1",
        "The rest of grant first-a is kept as 1, and comes to 7000000000",
    ),
    "a window was changed": (
        "UPDATE window_totals SET value = 0",
        "The total of window used:a:requests:w is kept as 0, and comes to 4",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_found(ledger: Ledger, name: str) -> None:
    corruption, sentence = CORRUPTIONS[name]
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
        open_account(tx, "b")
        grants.give(tx, "a", USD, id="short", at_us=START, expires_at_us=START + DAY, priority=99)
        post(tx, [call(cost=3 * USD, op="op", window="w", units=4), call(op="free")])
        grants.expire_due(tx, START + DAY)
    is_found(ledger, corruption, sentence)


def test_a_call_that_ended_twice_is_found(ledger: Ledger) -> None:
    """No unique key is believed: it may have been taken away."""
    if ledger.sqlite:
        pytest.skip("SQLite does not let go of a unique key")
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
        post(tx, [call(op="twice")])
    guards_away(ledger)
    with ledger.write() as tx:
        tx.sql("ALTER TABLE usage DROP CONSTRAINT usage_id")
        columns = [column.name for column in tables.usage.columns if column.name != "seq"]
        names = ", ".join(f'"{name}"' for name in columns)
        tx.sql(f"INSERT INTO usage ({names}) SELECT {names} FROM usage")
    [found] = differences(ledger)
    assert found[:5] == ("The call twice has 2 ends.", "twice", "ends", "1", "2")


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        ledger.migrate()
        with ledger.write() as tx:
            open_account(tx)
            post(tx, [call(op="damaged")])
        assert differences(ledger) == []
    data = path.read_bytes()
    at = data.rindex(b"damaged")  # in the row or in an index, and not in both
    path.write_bytes(data[:at] + b"changed" + data[at + 7 :])
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        assert any(found.figure == "integrity" for found in differences(ledger))
