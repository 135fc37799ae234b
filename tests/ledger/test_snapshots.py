"""Snapshots are a cache: without them every answer is the same."""

from collections.abc import Callable

import pytest

from metergate.ledger import Ledger, Tx, grants
from metergate.ledger.balances import (
    all_balances,
    balance,
    complete,
    drop_snapshots,
    grants_left,
    rebuild,
    windows,
)
from metergate.ledger.posting import post
from tests.ledger.calls import START, USD, call, differences, open_account

DAY = 86400 * 10**6


def everything(tx: Tx) -> tuple[object, ...]:
    return (
        list(all_balances(tx)),
        [balance(tx, id) for id in ("a", "b", "c", "ghost")],
        [sorted(grants_left(tx, id), key=lambda grant: grant.id) for id in ("a", "b", "c")],
        sorted(windows(tx, START)),
    )


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    """A ledger with a bit of everything in it."""
    with ledger.write() as tx:
        open_account(tx, "a", credit=10 * USD)
        open_account(tx, "b")
        open_account(tx, "c")
        grants.give(tx, "a", USD, id="short", at_us=START, expires_at_us=START + DAY)
        post(
            tx,
            [
                call("a", 3 * USD, window="w", units=3),
                call("b", USD),
                call("ghost", 5),
                call("c", window="v"),
            ],
        )
        grants.give(tx, "b", USD // 2, id="half", at_us=START + 5)
    return ledger


@pytest.mark.parametrize("after", [drop_snapshots, rebuild])
def test_dropping_every_snapshot_changes_no_answer(told: Ledger, after: Callable[[Tx], None]) -> None:
    with told.read() as tx:
        before = everything(tx)
    with told.write() as tx:
        after(tx)
    with told.read() as tx:
        assert complete(tx) is (after is rebuild)
        assert everything(tx) == before
    assert differences(told) == []


def post_more(tx: Tx) -> None:
    post(
        tx,
        [call("a", USD, op="more-1", window="w"), call("b", USD, op="more-2"), call("new", 7, op="more-3")],
    )


def give_more(tx: Tx) -> None:
    grants.give(tx, "b", 2 * USD, id="more", at_us=START + 9)


def expire_some(tx: Tx) -> None:
    grants.expire_due(tx, START + DAY)


@pytest.mark.parametrize("work", [post_more, give_more, expire_some])
def test_work_goes_on_after_a_drop_as_if_nothing_had_happened(
    told: Ledger, work: Callable[[Tx], None]
) -> None:
    with told.write() as tx, tx.connection.begin_nested() as first_try:
        work(tx)
        expected = everything(tx)
        first_try.rollback()
    with told.write() as tx:
        drop_snapshots(tx)
    with told.write() as tx:
        work(tx)
        assert complete(tx)
        assert everything(tx) == expected
    assert differences(told) == []
