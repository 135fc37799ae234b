"""Posting keeps up with the bare database: rows, money and windows cost a few times one plain bulk insert.

Both are measured in turns in the same process and the best round of each counts, so that a slow or busy
machine changes little.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from metergate.core.budget import BALANCE, COST, QUOTA, RATE, UNBOUNDED, UNITS, Draw
from metergate.core.hold import Outcome, Terms, UsageEvent
from metergate.ledger import Ledger, Tx
from metergate.ledger.posting import post
from tests.ledger.calls import MONTH_END, START, USD, open_account

BATCH = 5000
ROUNDS = 4
ACCOUNTS = [f"acct_{n}" for n in range(50)]
PLAIN = """CREATE TABLE plain (org BIGINT, id TEXT, request_id TEXT, account TEXT, key TEXT, service TEXT,
    route TEXT, path TEXT, meter TEXT, units BIGINT, dimensions TEXT, cost BIGINT, currency TEXT,
    measured TEXT, plan TEXT, policy TEXT, budgets TEXT, at_us BIGINT, tx BIGINT, PRIMARY KEY (org, id))"""


def events(numbers: Iterator[int]) -> list[UsageEvent]:
    outcomes = [outcome_of(account) for account in ACCOUNTS]
    made = []
    for number in (next(numbers) for _ in range(BATCH)):
        op = f"{number:016x}a1b2c3d4e5f60708"
        path = "/v1/chat/completions"
        made.append(UsageEvent(op, op, START + number, path, outcomes[number % len(ACCOUNTS)]))
    return made


def outcome_of(account: str) -> Outcome:
    return Outcome(17, (("model", "gpt-4o"),), 1000, "response", (1000, 17, 1), terms_of(account))


def terms_of(account: str) -> Terms:
    draws = (
        Draw(BALANCE, f"credits:{account}", 1000, 0, UNBOUNDED, 0, COST),
        Draw(QUOTA, f"used:{account}:tokens:2025-11", 10, 0, UNBOUNDED, MONTH_END, UNITS),
        Draw(RATE, f"rate:account:{account}:60-per-minute", 1, 5, 6),
    )
    route = "POST /v1/chat/completions"
    return Terms(account, "k1234567", "growth", "0123456789abcdef", "api", route, "tokens", "USD", draws)


def row(event: UsageEvent) -> tuple[Any, ...]:
    t = event.terms
    budgets = '[["used:acct_1:tokens:2025-11",17,1766592000000000]]'
    own = (
        1,
        event.op,
        event.request_id,
        t.account,
        t.key,
        t.service,
        t.route,
        event.path,
        t.meter,
        event.units,
    )
    return (*own, "{}", event.cost, t.currency, event.measured, t.plan, t.policy, budgets, event.at_us, 7)


def insert_plainly(tx: Tx, rows: Sequence[tuple[Any, ...]]) -> None:
    if tx.sqlite:
        tx.sql(f"INSERT INTO plain VALUES ({', '.join('?' * 19)})", list(rows))
        return
    cursor: Any = tx.connection.connection.cursor()
    with cursor, cursor.copy("COPY plain FROM STDIN") as copy:
        for one in rows:
            copy.write_row(one)


def seconds(ledger: Ledger, clock: Callable[[], float], work: Callable[[Tx], object]) -> float:
    started = clock()
    with ledger.write() as tx:
        work(tx)
    return clock() - started


@pytest.mark.parametrize(("url", "least"), [("sqlite", 0.2), ("postgresql", 0.2)], indirect=["url"])
def test_posting_is_at_least_a_fifth_as_fast_as_a_bare_bulk_insert(ledger: Ledger, least: float) -> None:
    # SQLite works inside this process, where its CPU time is the fairer measure; PostgreSQL works elsewhere.
    clock = time.process_time if ledger.sqlite else time.perf_counter
    with ledger.write() as tx:
        tx.sql(PLAIN)
        for account in ACCOUNTS:
            open_account(tx, account, credit=1000 * USD)
    numbers = count()
    bare, posted = [], []
    for _ in range(ROUNDS):
        batch = events(numbers)
        rows = [row(event) for event in batch]
        bare.append(seconds(ledger, clock, lambda tx, rows=rows: insert_plainly(tx, rows)))  # type: ignore[misc]
        posted.append(seconds(ledger, clock, lambda tx, batch=batch: post(tx, batch)))  # type: ignore[misc]
    ratio = min(bare) / min(posted)
    bare_us, posted_us = (min(times) / BATCH * 1e6 for times in (bare, posted))
    assert ratio >= least, f"bare {bare_us:.1f} us, posted {posted_us:.1f} us per event"
