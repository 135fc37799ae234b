"""`metergate verify` as people meet it: an exit code, and a difference that says what to do."""

import sqlite3
from contextlib import closing

from tests.cli.conftest import Shell


def vandal(shell: Shell, *statements: str) -> None:
    with closing(sqlite3.connect(shell.folder / "metergate-data" / "ledger.sqlite")) as database, database:
        for statement in statements:
            database.execute(statement)


def test_a_difference_says_what_was_expected_and_found_and_what_to_do(shell: Shell) -> None:
    shell.ok("accounts create acme")
    shell.ok("credits grant acme 5.00")
    vandal(shell, "UPDATE account_balances SET balance = 9")
    told = shell.run("verify")
    assert told.exit_code == 1
    assert "The balance of account acme USD is kept as 9, and comes to 5000000000." in told.stdout
    assert "    balance: expected 5000000000, found 9" in told.stdout
    assert "run metergate ledger derive" in told.stdout
    shell.ok("ledger derive")
    shell.ok("verify")


def test_a_pinned_head_finds_what_was_made_anew(shell: Shell) -> None:
    shell.ok("accounts create acme")
    head = shell.json("ledger head")["head"]
    shell.ok(f"verify --head {head}")
    vandal(
        shell, "DROP TRIGGER links_delete_refused", "DELETE FROM links", "DROP TRIGGER audit_update_refused"
    )
    vandal(shell, "UPDATE audit SET actor = 'nobody'")
    shell.ok("verify")  # the chain was made anew, and fits
    told = shell.run(f"verify --head {head}")
    assert told.exit_code == 1
    assert "which was pinned, is not in the chain" in told.stdout
    assert "number:hash" not in shell.no("verify --head nonsense")
