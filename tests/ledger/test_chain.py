"""The chain over the ledger: what it covers cannot be changed without `verify` saying where."""

import hashlib
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from metergate.ledger import Ledger, audit, chain, grants
from metergate.ledger.posting import post
from tests.ledger.calls import START, USD, call, differences, guards_away, is_found, open_account

CORRUPTIONS = {
    "a usage row was changed": ("UPDATE usage SET path = '/other' WHERE id = 'op2'", "rows of usage"),
    "a usage row was deleted": ("DELETE FROM usage WHERE id = 'free1'", "rows were deleted or inserted"),
    "a usage row was inserted": (
        """INSERT INTO usage SELECT -5, org, 'planted', request_id, account, key, service, route, path, meter,
        units, dimensions, 0, currency, measured, plan, policy, budgets, at_us, NULL
        FROM usage WHERE id = 'op1'""",
        "rows were deleted or inserted",
    ),
    "two rows changed places": (
        """UPDATE usage SET seq = -seq WHERE cost = 0; UPDATE usage
        SET seq = seq - (SELECT sum(seq) FROM usage WHERE cost = 0) WHERE cost = 0""",
        "put in another order",
    ),
    "an audit row was changed": ("UPDATE audit SET actor = 'nobody'", "rows of audit"),
    "a memo of a grant was changed": ("UPDATE grants SET memo = 'a present'", "rows of grants"),
    "an instant of a transaction was changed": (
        "UPDATE transactions SET at_us = at_us + 1",
        "of transactions",
    ),
    "amounts were moved so that all sums fit": (
        """UPDATE entries SET amount = amount + CASE book WHEN 'revenue' THEN 1 ELSE -1 END
        WHERE book IN ('revenue', 'credits')
        AND "transaction" = (SELECT "transaction" FROM usage WHERE id = 'op1')""",
        "rows of entries",
    ),
    "a link was changed": ("UPDATE links SET at_us = at_us + 1 WHERE link = 1", "was changed: its hash"),
    "a link was deleted": ("DELETE FROM links WHERE link = 1", "Link 2 of the chain follows link 0"),
    "a link was made anew": (
        "UPDATE links SET hash = 'abc', before = 'def' WHERE link = 2",
        "does not follow the one before it",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_the_chain_covers_cannot_be_changed_unseen(ledger: Ledger, name: str) -> None:
    corruption, sentence = CORRUPTIONS[name]
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
        audit.note(tx, START, "operator", "grant.give", "a")
    rows = ("op1", "free1", "op2", "free2")
    for op in rows:
        with ledger.write() as tx:
            post(tx, [call(cost=USD if op.startswith("op") else 0, op=op)])
        if op == "free1":
            chained(ledger)
    chained(ledger)
    is_found(ledger, corruption, sentence)


def test_the_head_of_a_chain_that_has_no_link_yet_can_be_pinned(ledger: Ledger) -> None:
    with ledger.read() as tx:
        pinned = chain.head(tx).name
    chained(ledger)
    assert differences(ledger, pinned) == []


def test_a_pinned_link_shows_that_the_end_was_cut_off(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
    first = chained(ledger)
    with ledger.write() as tx:
        post(tx, [call(op="free")])
    pinned = chained(ledger)
    assert first.name != pinned.name
    assert differences(ledger, pinned=pinned.name) == []
    assert differences(ledger, pinned=first.name) == []
    guards_away(ledger)
    with ledger.write() as tx:
        tx.sql("DELETE FROM usage")
        tx.sql("DELETE FROM links WHERE link = 2")
    assert differences(ledger) == []
    [found] = differences(ledger, pinned=pinned.name)
    assert found.sentence.startswith("Link 2, which was pinned, is not in the chain")


def test_rows_that_commit_after_higher_ones_are_chained_too(ledger: Ledger) -> None:
    """A number is taken before its transaction commits, and another one overtakes it."""
    if ledger.sqlite:
        pytest.skip("who writes to SQLite writes alone")
    with ledger.write() as tx:
        open_account(tx, "slow", credit=10 * USD)
        open_account(tx, "fast", credit=10 * USD)
    chained(ledger)
    with ledger.write() as slow:
        post(slow, [call("slow", USD, op="slow")])
        with ledger.write() as fast:
            post(fast, [call("fast", USD, op="fast")])
        with ledger.read() as tx:
            seen = chain.look(tx)
        assert seen.writers  # the fast one is there, and below it somebody still writes
    with ledger.read() as tx:
        assert not chain.still_writing(tx, seen.writers)
    chained(ledger)
    with ledger.read() as tx:
        assert chain.unchained(tx) == 0
    assert differences(ledger) == []


def test_many_writers_and_two_chainers_leave_no_row_out(ledger: Ledger) -> None:
    """Whoever writes waits for nobody, and whatever is committed is in the chain once."""
    if ledger.sqlite:
        pytest.skip("who writes to SQLite writes alone")
    with ledger.write() as tx:
        for n in range(4):
            open_account(tx, f"a{n}", credit=1000 * USD)
    ended = threading.Event()

    def write(number: int) -> None:
        rush = random.Random(number)
        for _ in range(12):
            with ledger.write() as tx:
                post(tx, [call(f"a{number}", USD) for _ in range(rush.randint(1, 40))])
                ended.wait(rush.random() / 50)  # its numbers are taken, and others overtake it
                audit.note(tx, START, "worker", "story", f"a{number}")

    def chain_on() -> None:
        seen = None
        while not ended.is_set():
            with ledger.read() as tx:
                seen = (
                    chain.look(tx)
                    if seen is None
                    else seen._replace(writers=chain.still_writing(tx, seen.writers))
                )
            if not seen.writers:
                with ledger.write() as tx:
                    chain.extend(tx, seen.reached, START)
                seen = None

    with ThreadPoolExecutor(6) as threads:
        chainers = [threads.submit(chain_on) for _ in range(2)]
        for done in [threads.submit(write, number) for number in range(4)]:
            done.result()
        ended.set()
        for each in chainers:
            each.result()
    last = chained(ledger)
    assert last.link > 5
    with ledger.read() as tx:
        assert chain.unchained(tx) == 0
    assert differences(ledger) == []


def test_a_hundred_thousand_events_are_chained_in_seconds(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=1000 * USD)
    for _ in range(10):
        with ledger.write() as tx:
            post(tx, [call(cost=1000) for _ in range(10_000)])
    began = time.perf_counter()
    chained(ledger)
    took = time.perf_counter() - began
    with ledger.read() as tx:
        assert chain.unchained(tx) == 0
        assert 10 <= chain.head(tx).link <= 15
    assert took < 10, took


def test_anybody_can_hash_the_rows_again(ledger: Ledger) -> None:
    """The same on both databases: a JSON array a row, and line feeds between them."""
    odd = "\u00e9 \\ ' \" \n \t \x01 \x1f \x7f / <&> \u2602"
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
        grants.give(tx, "a", USD, id=odd, at_us=START, promotional=True, memo=odd)
        found = chain.digest(tx, "grants", chain.LOWEST, 10)
    rows = [
        [1, "first-a", "a", "USD", 10 * USD, 50, 0, START, None, "", START],
        [2, odd, "a", "USD", USD, 50, 1, START, None, odd, START],
    ]
    lines = [json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows]
    assert found == (2, hashlib.sha256("\n".join(lines).encode()).hexdigest())


def chained(ledger: Ledger) -> chain.Link:
    """The newest link, after everything was chained."""
    more = True
    while more:
        with ledger.read() as tx:
            reached = chain.look(tx).reached
        with ledger.write() as tx:
            more = chain.extend(tx, reached, START)
    with ledger.read() as tx:
        return chain.head(tx)
