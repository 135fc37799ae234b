"""Usage rows: whatever the database takes them as, they come back as they went in."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metergate.core.batch import Batch
from metergate.core.hold import UsageEvent
from metergate.ledger import Ledger, Tx, grants, usage
from metergate.ledger.balances import balance, windows
from metergate.ledger.posting import Posted, post, post_batch
from metergate.wire import encode_event, gather, join_events
from tests.ledger.calls import MONTH_END, START, USD, call, differences, open_account

ODD = [
    "\\",
    "\\N",
    "\\.",
    "\t",
    "\n",
    "\r\n",
    '"',
    "'",
    "{}",
    "{,}",
    "NULL",
    "",
    " ",
    "a,b",
    "é\u2028🦉",
    "\x7f",
]
_orgs = itertools.count(5000)


@pytest.mark.parametrize("odd", ODD)
def test_odd_texts_are_kept_as_they_are(ledger: Ledger, odd: str) -> None:
    account = f"a{odd}"  # nobody's: what it uses is its debt
    with ledger.write() as tx:
        event = call(account, cost=USD, op=f"op{odd}", window=f"w{odd}", plan=odd)._replace(path=f"/{odd}/")
        terms = event.terms._replace(key=odd, service=odd, route=odd, meter=odd, policy=odd)
        dimensions = ((f"model{odd}", odd),)
        outcome = event.outcome._replace(terms=terms, measured=odd, dimensions=dimensions)
        event = event._replace(outcome=outcome, twin=(f"t{odd}", odd, MONTH_END), answer=odd.encode())
        assert post(tx, [event]) == Posted(1, 0, [])
        assert post(tx, [event, call(account, cost=1)]) == Posted(1, 1, [])
        row = usage.get(tx, f"op{odd}")
        assert row is not None
        assert (row.account, row.path, row.plan, row.measured) == (account, f"/{odd}/", odd, odd)
        assert (row.key, row.service, row.route, row.meter, row.policy) == (odd,) * 5
        assert dict(row.dimensions) == dict(dimensions)
        assert row.budgets == [(f"used:{account}:requests:w{odd}", 1, MONTH_END)]
        assert balance(tx, account) == -USD - 1
    assert differences(ledger) == []


def test_a_nul_in_an_id_charges_nobody_twice(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=USD)
        odd = call(cost=1, op="op\x00")
        assert post(tx, [odd, call(cost=1)]).new == 2
        assert post(tx, [odd, call(cost=1)]) == Posted(1, 1, [])
        assert balance(tx, "a") == USD - 3
    assert differences(ledger) == []


@pytest.mark.parametrize("size", [1, 31, 33, 63, 64, 255, 256, 257, 600])
@pytest.mark.parametrize("kinds", [1, 2, 1000])
def test_batches_of_every_size_are_there_in_full(ledger: Ledger, size: int, kinds: int) -> None:
    templates = [call(cost=1 + n, units=n, window="w") for n in range(min(kinds, size))]
    batch = [templates[n % len(templates)]._replace(op=f"x{n}", request_id=f"r{n}") for n in range(size)]
    with ledger.write() as tx:
        open_account(tx, credit=USD)
        assert post_through_the_wire(tx, [batch]) == Posted(size, 0, [])
        found = {row.id: (row.request_id, row.units, row.cost) for row in usage.rows(tx, limit=1000)}
        assert found == {event.op: (event.request_id, event.units, event.cost) for event in batch}
        assert post_through_the_wire(tx, [batch[::2], batch]) == Posted(0, size + len(batch[::2]), [])
        assert balance(tx, "a") == USD - sum(event.cost for event in batch)
    assert differences(ledger) == []


accounts = st.sampled_from(["a", "b", "c"])
calls = st.builds(
    call,
    accounts,
    st.sampled_from([0, 0, 1, 7]),
    at_us=st.integers(START, START + 3),
    units=st.integers(0, 3),
    window=st.sampled_from(["", "w", "v"]),
    currency=st.sampled_from(["USD", "USD", "EUR"]),
    twin=st.none() | st.tuples(st.sampled_from("tu"), st.just("print"), st.just(MONTH_END)),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch=st.lists(st.lists(calls, max_size=5), max_size=5), copies=st.integers(1, 80), ends=st.booleans())
def test_a_batch_comes_to_what_its_events_come_to_one_by_one(
    url: str, tmp_path: Path, batch: list[list[UsageEvent]], copies: int, ends: bool
) -> None:
    entries = [
        [event._replace(op=f"{event.op}-{n}") for event in events for n in range(copies)] for events in batch
    ]
    books = []
    for at_once in (True, False):
        ledger = Ledger.open(url, org=next(_orgs))
        ledger.migrate()
        with ledger.write() as tx:
            for account in "abc":
                open_account(tx, account, credit=100)
            if ends:
                grants.give(tx, "a", 9, id="ends", at_us=START, expires_at_us=START + 2)
            if at_once:
                post_through_the_wire(tx, entries)
            else:
                for event in sorted((event for events in entries for event in events), key=_instant):
                    post(tx, [event])
            books.append(read(tx))
        assert differences(ledger) == []
        ledger.close()
    assert books[0] == books[1]


def post_through_the_wire(tx: Tx, entries: Sequence[Sequence[UsageEvent]]) -> Posted:
    """As the flusher does: what came to the same is read once, and stands side by side."""
    batch = Batch()
    for events in entries:
        if events:
            gather(join_events([encode_event(event) for event in events]), batch)
    return post_batch(tx, batch)


def read(tx: Tx) -> object:
    """Everything that does not depend on which calls were posted together."""
    rows = [row._replace(seq=0, transaction=None) for row in usage.rows(tx, limit=10**6)]
    left = {(account, currency): balance(tx, account, currency) for account in "abc" for currency in USES}
    return sorted(rows, key=lambda row: row.id), left, sorted(windows(tx, START)), usage.totals(tx, None)


USES = ("USD", "EUR")


def _instant(event: UsageEvent) -> tuple[int, str]:
    return event.at_us, event.op
