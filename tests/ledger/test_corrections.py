"""A correction is a new transaction, once per id; what was wrong stays to be read."""

import pytest

from metergate.errors import InvalidInput
from metergate.ledger import Conflict, Ledger, balances, corrections, grants, transactions
from metergate.ledger.posting import post
from tests.ledger.calls import START, USD, call, differences, open_account

DAY = 86400 * 10**6


def adjust(ledger: Ledger, delta: int, id: str = "c1", reason: str = "a mistake") -> bool:
    with ledger.write() as tx:
        return corrections.adjust(tx, "a", delta, id=id, at_us=START + 10, reason=reason).repeated


def balance(ledger: Ledger) -> int:
    with ledger.read() as tx:
        return balances.balance(tx, "a")


def test_credits_are_added_and_taken_back_once_per_id(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
    assert [adjust(ledger, 2 * USD), adjust(ledger, 2 * USD)] == [False, True]
    assert [adjust(ledger, -5 * USD, "c2"), adjust(ledger, -5 * USD, "c2")] == [False, True]
    assert balance(ledger) == 7 * USD
    with ledger.read() as tx:
        kinds = [(row.id, row.kind) for row in transactions.page(tx, "a")]
    assert kinds == [("adjust:c2", "adjust"), ("grant:adjust:c1", "adjust"), ("grant:first-a", "grant")]
    assert differences(ledger) == []


@pytest.mark.parametrize("delta", [3 * USD, -2 * USD, -3 * USD])
def test_the_same_id_with_other_contents_is_a_conflict(ledger: Ledger, delta: int) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
    adjust(ledger, 2 * USD)
    adjust(ledger, -USD, "c2")
    with pytest.raises(Conflict, match="other contents"):
        adjust(ledger, delta, "c1" if delta < 0 else "c2")
    with pytest.raises(Conflict, match="other contents"):
        adjust(ledger, delta, "c2" if delta < 0 else "c1", "for another reason")


def test_what_was_spent_already_is_owed_and_the_next_grant_pays_it(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
        post(tx, [call(cost=8 * USD)])
    adjust(ledger, -5 * USD)
    assert balance(ledger) == -3 * USD
    with ledger.write() as tx:
        grants.give(tx, "a", 4 * USD, id="later", at_us=START + 20)
    assert balance(ledger) == USD
    assert differences(ledger) == []


def test_credits_are_taken_back_in_the_order_of_spending(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
        grants.give(tx, "a", USD, id="short", at_us=START, expires_at_us=START + DAY)
    adjust(ledger, -2 * USD)
    with ledger.read() as tx:
        assert {grant.id: grant.remaining for grant in balances.grants_left(tx, "a")} == {"first-a": 9 * USD}


def test_nothing_is_corrected_by_nothing(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
    with pytest.raises(InvalidInput, match="other than zero"):
        adjust(ledger, 0)
