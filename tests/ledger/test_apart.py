"""No event, however absurd, keeps the others out of the ledger; what cannot be posted is in the audit."""

import base64
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metergate.core.hold import UsageEvent
from metergate.core.money import MAX, UNITS_MAX
from metergate.ledger import Ledger, Tx, audit, grants, usage
from metergate.ledger.apart import SET_ASIDE, UNPOSTABLE, post_again, post_apart
from metergate.ledger.balances import balance, drop_snapshots, rebuild, windows
from metergate.ledger.posting import Posted, post
from metergate.wire import decode_events
from tests.ledger.calls import START, USD, call, differences, open_account

HUGE = 9 * 10**18
"""It fits in 64 bits, and its double does not."""

_orgs = itertools.count(100_000)


def set_aside(tx: Tx) -> list[UsageEvent]:
    """What the audit keeps, in the order it came."""
    kept = [row.details["events"] for row in audit.page(tx, limit=1000) if row.action == SET_ASIDE]
    return [event for events in reversed(kept) for event in decode_events(base64.b64decode(events))]


def odd(**changes: Any) -> UsageEvent:
    """A call that can be read, and not be posted."""
    plain = call("odd", cost=USD, window="w")
    return plain._replace(outcome=plain.outcome._replace(**changes))


def test_charges_whose_sum_is_beyond_64_bits_stop_neither_the_others_nor_the_account(ledger: Ledger) -> None:
    evil = [call("evil", cost=HUGE, units=UNITS_MAX) for _ in range(3)]
    good = [call("good", cost=USD) for _ in range(5)]
    with ledger.write() as tx:
        open_account(tx, "evil", credit=USD)
        open_account(tx, "good", credit=10 * USD)
    with pytest.raises(UNPOSTABLE), ledger.write() as tx:
        post(tx, [*evil, *good])
    with ledger.write() as tx:
        assert post_apart(tx, [*evil, *good], START) == Posted(6, 0, [], 2)
        assert balance(tx, "good") == 5 * USD
        assert balance(tx, "evil") == USD - HUGE
        assert set_aside(tx) == evil[1:]
    assert differences(ledger) == []


def test_charges_that_each_grant_covers_add_up_beyond_64_bits(ledger: Ledger) -> None:
    """Usage, balances and the whole ledger can be summed however much has gone through an account."""
    with ledger.write() as tx:
        open_account(tx)
        for n in range(3):
            grants.give(tx, "a", HUGE, id=f"g{n}", at_us=START)
            post(tx, [call(cost=HUGE)])
        [total] = usage.totals(tx, "a")
        assert (total.calls, total.cost) == (3, 3 * HUGE)
        drop_snapshots(tx)
        rebuild(tx)
        assert balance(tx, "a") == 0
    assert differences(ledger) == []


def test_the_total_of_a_window_stays_at_the_largest_number_there_is(ledger: Ledger) -> None:
    template = call(units=UNITS_MAX, window="w")
    with ledger.write() as tx:
        open_account(tx)
        for start in range(0, 1200, 300):
            batch = [template._replace(op=f"w{n}", request_id=f"w{n}") for n in range(start, start + 300)]
            assert post(tx, batch).new == 300
        assert [value for _, value, _ in windows(tx, START)] == [MAX]
        assert usage.totals(tx, "a")[0].units == 1200 * UNITS_MAX
    assert differences(ledger) == []


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param(odd(cost=2**64 - 1), id="a cost of 64 bits without a sign"),
        pytest.param(odd(cost=-1), id="a cost below zero"),
        pytest.param(odd(units=2**64 - 1), id="units beyond 64 bits"),
        pytest.param(odd(units=-1), id="units below zero"),
        pytest.param(odd(amounts=()), id="fewer amounts than draws"),
        pytest.param(call("odd", cost=USD, at_us=2**64 - 1), id="an instant beyond 64 bits"),
    ],
)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_the_neighbours_of_an_event_that_cannot_be_posted_are_posted(
    ledger: Ledger, poison: UsageEvent, place: int
) -> None:
    batch = [call(cost=USD, window="w") for _ in range(7)]
    batch.insert(place, poison)
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
    for new, repeated, apart in ((7, 0, 1), (0, 7, 0)):  # repeating it changes nothing
        with pytest.raises(UNPOSTABLE), ledger.write() as tx:
            post(tx, batch)
        with ledger.write() as tx:
            assert post_apart(tx, batch, START) == Posted(new, repeated, [], apart)
            assert balance(tx, "a") == 3 * USD
            assert set_aside(tx) == [poison]
    assert differences(ledger) == []


events = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.one_of(st.integers(0, MAX), st.integers(0, 100), st.just(MAX)),
        st.one_of(st.integers(0, UNITS_MAX), st.just(UNITS_MAX)),
    ),
    max_size=12,
)
stories = st.lists(st.tuples(st.integers(0, MAX), events), max_size=4)


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(story=stories)
def test_whatever_is_used_is_posted_or_set_aside_and_the_proof_holds(
    url: str, tmp_path: Path, story: list[tuple[int, list[tuple[str, int, int]]]]
) -> None:
    ledger = Ledger.open(url, org=next(_orgs))
    ledger.migrate()
    with ledger.write() as tx:
        open_account(tx)
    came: list[UsageEvent] = []
    for number, (credit, used) in enumerate(story):
        batch = [
            call(account, cost, units=units, window="w", at_us=START + number)
            for account, cost, units in used
        ]
        came += batch
        with ledger.write() as tx:
            if credit and balance(tx, "a") + credit <= MAX:
                grants.give(tx, "a", credit, id=f"g{number}", at_us=START)
        with ledger.write() as tx:
            post_apart(tx, batch, START)
    assert differences(ledger) == []
    with ledger.write() as tx:
        kept = {row.id: row.cost for row in usage.rows(tx, limit=1000)}
        apart = {event.op for event in set_aside(tx)}
        assert kept.keys() | apart == {event.op for event in came}
        assert not kept.keys() & apart
        assert sum(total.cost for total in usage.totals(tx, None)) == sum(kept.values())
        before = {account: balance(tx, account) for account in ("a", "b")}
        drop_snapshots(tx)
        assert before == {account: balance(tx, account) for account in ("a", "b")}
        rebuild(tx)
    assert differences(ledger) == []
    ledger.close()


def test_what_was_set_aside_is_posted_once_its_cause_is_mended(ledger: Ledger) -> None:
    evil = [call("evil", cost=HUGE, units=UNITS_MAX) for _ in range(2)]
    with ledger.write() as tx:
        open_account(tx, "evil", credit=USD)
        assert post_apart(tx, evil, START).apart == 1
        assert post_again(tx, START) == Posted(0, 0, [], 1)
        grants.give(tx, "evil", HUGE, id="paid", at_us=START)
        assert post_again(tx, START) == Posted(1, 0, [], 0)
        assert post_again(tx, START) == Posted(0, 0, [], 0)
        assert usage.totals(tx, "evil")[0].calls == 2
        assert len(set_aside(tx)) == 1
    assert differences(ledger) == []
