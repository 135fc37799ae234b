"""Transactions can only be written when they balance, and are read in pages."""

import pytest

from metergate.ledger import Ledger
from metergate.ledger.posting import post
from metergate.ledger.transactions import Line, Transaction, entries, get, page, record
from tests.ledger.calls import START, USD, call, differences, open_account


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [Line("funding", "USD", -5)],
        [Line("credits", "USD", 5, "g"), Line("funding", "USD", -4)],
        [Line("credits", "USD", 5, "g"), Line("funding", "EUR", -5)],
    ],
)
def test_what_does_not_balance_is_not_written(ledger: Ledger, lines: list[Line]) -> None:
    with ledger.write() as tx:
        with pytest.raises(ValueError, match="must sum to zero"):
            record(tx, [(Transaction(1, "adjust:x", "adjust", "a", START, ""), lines)])
        assert get(tx, "adjust:x") is None


def test_transactions_are_listed_in_pages_of_an_account(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for id in ("a", "b"):
            open_account(tx, id, credit=USD)
        post(tx, [call("a", 1), call("b", 1)])
        [newest] = page(tx, "a", limit=1)
        assert (newest.kind, newest.account) == ("usage", "a")
        [first] = page(tx, "a", after=newest.seq)
        assert first == get(tx, "grant:first-a")
        assert sum(entry.amount for entry in entries(tx, [newest.seq, first.seq])) == 0
    assert differences(ledger) == []
