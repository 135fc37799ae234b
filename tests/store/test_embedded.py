"""What the embedded store promises beyond the contract: its journal, a full disk, and bounded memory."""

from itertools import count
from pathlib import Path

import pytest

from metergate.core.budget import BALANCE, COST, QUOTA, UNITS, Draw
from metergate.core.facts import AccountFacts
from metergate.core.hold import Terms
from metergate.core.idempotency import Twin
from metergate.errors import StoreUnavailable
from metergate.ports import (
    DONE,
    ENDED,
    GRANTED,
    TWIN_DONE,
    UNKNOWN,
    Adjust,
    AskBudget,
    Held,
    Hold,
    PutAccount,
    PutBudget,
    Settle,
)
from metergate.store import embedded, journal
from metergate.store.embedded import EmbeddedStore
from metergate.store.journal import Journal, read, segment_numbers
from metergate.store.twins import Twins
from metergate.testing.clock import START_US
from metergate.wire import decode_hold, encode_terms
from tests.store.disk import full_disk

HOUR_US = 3600 * 10**6
FACTS = Terms("acct", "kid", "plan", "v1", "", "GET /", "calls", "USD", ())
TERMS = encode_terms(FACTS)
OPS = count(1)


def opened(folder: Path | None, *, room: int = 1024) -> EmbeddedStore:
    store = EmbeddedStore(Journal(folder, segment_bytes=room) if folder else None)
    store.sync((PutAccount(AccountFacts("acct"), 1000),), START_US)
    return store


def hold(store: EmbeddedStore, op: str = "", *draws: Draw, now_us: int = START_US) -> Held:
    op = op or f"op-{next(OPS)}"
    draws = draws or (Draw(BALANCE, "credits:acct", 1, 0, 0, 0, COST),)
    return store.hold((Hold(op, "acct", 1, draws, now_us + HOUR_US, TERMS, f"req-{op}"),), now_us)[0]


def settle(store: EmbeddedStore, op: str, size: int = 100) -> str:
    return store.settle((Settle(op, (1,), op.encode().ljust(size, b".")),), START_US)[0]


def balance(store: EmbeddedStore) -> object:
    return store.state((AskBudget("credits:acct"),))[0]


def flush(store: EmbeddedStore, events: int = 1000) -> None:
    store.acknowledge([entry.id for entry in store.drain(events)])


def journalled(folder: Path) -> list[tuple[int, str]]:
    """Kind and op of every record; an event of these tests is its op, filled up with dots."""
    return [
        (kind, decode_hold(payload)[0] if kind == journal.HOLD else payload.rstrip(b".").decode())
        for kind, _, payload in read(folder)
    ]


def test_every_step_of_a_call_is_in_the_journal(tmp_path: Path) -> None:
    store = opened(tmp_path)
    hold(store, "a")
    hold(store, "b")
    hold(store, "too dear", Draw(BALANCE, "credits:acct", 10_000, 0, 0, 0, COST))
    store.dispatch("a")
    settle(store, "a")
    store.release(("b",), START_US)
    steps = [(journal.HOLD, "a"), (journal.HOLD, "b"), (journal.SETTLE, "a"), (journal.RELEASE, "b")]
    assert journalled(tmp_path) == steps
    records = list(read(tmp_path))
    assert [record.marked for record in records[:2]] == [True, False]
    assert decode_hold(records[0].payload) == ("a", "req-a", FACTS)


def test_a_segment_stays_while_one_of_its_events_waits_for_the_ledger(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for n in range(30):
        hold(store, str(n))
        settle(store, str(n))
    assert len(segment_numbers(tmp_path)) > 4
    first, *others = store.drain(1000)
    store.acknowledge([entry.id for entry in others])
    assert segment_numbers(tmp_path)[0] == 1
    store.acknowledge([first.id])
    assert len(segment_numbers(tmp_path)) == 1


def test_an_open_hold_is_carried_along_and_keeps_its_mark(tmp_path: Path) -> None:
    store = opened(tmp_path)
    hold(store, "dispatched")
    store.dispatch("dispatched")
    hold(store, "waiting")
    for n in range(60):
        hold(store, str(n))
        settle(store, str(n))
        flush(store)
    assert len(segment_numbers(tmp_path)) <= 3
    left = [decode_hold(record.payload)[0] for record in read(tmp_path) if record.kind == journal.HOLD]
    assert {"dispatched", "waiting"} <= set(left)
    marks = {decode_hold(r.payload)[0]: r.marked for r in read(tmp_path) if r.kind == journal.HOLD}
    assert (marks["dispatched"], marks["waiting"]) == (True, False)
    store.dispatch("waiting")
    marks = {decode_hold(r.payload)[0]: r.marked for r in read(tmp_path) if r.kind == journal.HOLD}
    assert marks["waiting"]
    assert settle(store, "dispatched") == DONE


def test_with_a_full_disk_nothing_is_held_and_everything_is_settled(tmp_path: Path) -> None:
    store = opened(tmp_path)
    hold(store, "a")
    hold(store, "b")
    settle(store, "a", size=850)
    with full_disk():
        before = balance(store)
        with pytest.raises(StoreUnavailable, match="; make room "):
            hold(store)
        assert balance(store) == before
        assert settle(store, "b", size=900) == DONE
        assert not store.health().ok
        with pytest.raises(StoreUnavailable, match="; make room "):
            hold(store)
        assert balance(store) == before
        with pytest.raises(OSError, match="File too large"):
            store.prepare()
    with pytest.raises(StoreUnavailable, match="; make room "):
        hold(store)
    store.prepare()
    assert store.health().ok
    assert hold(store).status == GRANTED
    assert [entry.event.rstrip(b".") for entry in store.drain(9)] == [b"a", b"b"]
    flush(store)
    assert store.drain(9) == []


def test_an_event_that_was_not_journalled_costs_no_event_that_was(tmp_path: Path) -> None:
    """Its place in the outbox says nothing of the segments that the events behind it need."""
    store = opened(tmp_path)
    hold(store, "lost page")
    with full_disk():
        settle(store, "lost page", size=2000 - 1010)
    store.prepare()
    hold(store, "kept")
    settle(store, "kept")
    for n in range(40):
        hold(store, str(n))
        settle(store, str(n))
    store.acknowledge([entry.id for entry in store.drain(100)[2:]])
    assert (journal.SETTLE, "kept") in journalled(tmp_path)
    flush(store)
    assert store.health().backlog == 0


def test_a_disk_that_is_full_does_not_stop_the_ledger(tmp_path: Path) -> None:
    """Acknowledging needs no room; what could not be carried along stays where it is."""
    store = opened(tmp_path)
    hold(store, "open")
    for n in range(20):
        hold(store, str(n))
        settle(store, str(n))
    store.prepare()
    for n in range(100, 120):
        hold(store, str(n))
    with full_disk():
        for op in range(100, 120):
            settle(store, str(op))
        flush(store)
    assert store.health().backlog == 0
    assert (journal.HOLD, "open") in journalled(tmp_path)


def test_a_store_without_a_journal_writes_nothing(tmp_path: Path) -> None:
    store = opened(None)
    hold(store, "a")
    settle(store, "a")
    store.prepare()
    store.sync_to_disk()
    flush(store)
    store.close()
    assert store.health() == ("memory", True, 0, 0, "", False)


def test_closing_keeps_what_was_not_flushed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    hold(store, "a")
    settle(store, "a")
    store.sync_to_disk()
    store.close()
    assert journalled(tmp_path) == [(journal.HOLD, "a"), (journal.SETTLE, "a")]


def test_the_counter_of_a_window_is_forgotten_an_hour_after_its_end() -> None:
    store = opened(None)
    end = START_US + HOUR_US
    hold(store, "a", Draw(QUOTA, "drawn", 5, 0, 9, end, UNITS))
    hold(store, "b", Draw(QUOTA, "drawn", 1, 0, 9, end, UNITS))
    store.sync((PutBudget("put", 7, end),), START_US)
    asks = (AskBudget("drawn"), AskBudget("put"))
    store.expire(end + HOUR_US - 1, 10)
    assert store.state(asks) == [6, 7]
    store.expire(end + HOUR_US, 10)
    assert store.state(asks) == [None, None]
    settle(store, "a")
    store.release(("b",), end)
    assert store.state(asks) == [None, None]


def test_repetitions_are_remembered_for_some_time_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ENDED_KEPT", 10)
    store = opened(None)
    for n in range(30):
        hold(store, f"call-{n}")
        settle(store, f"call-{n}")
        store.sync((Adjust(f"grant-{n}", "acct", 1),), START_US)
    assert [settle(store, f"call-{n}") for n in (29, 20, 0)] == [DONE, DONE, UNKNOWN]
    assert hold(store, "call-29").status == ENDED
    before = balance(store)
    store.sync((Adjust("grant-29", "acct", 1), Adjust("grant-25", "acct", 1)), START_US)
    assert balance(store) == before


def test_kept_answers_are_bounded_and_the_oldest_go_first() -> None:
    twins = Twins(answers_max=100)
    kept = [Twin(str(n), "same", START_US + 1) for n in range(4)]
    for twin in kept:
        twins.began(twin)
        twins.ended(twin, b"x" * 40)
    assert [twins.verdict(twin, START_US) for twin in kept] == [
        Held(TWIN_DONE, answer=answer) for answer in (None, None, b"x" * 40, b"x" * 40)
    ]
    twins.purge(START_US + 1)
    twins.put(kept[0], b"y" * 100)
    assert twins.verdict(kept[0], START_US) == Held(TWIN_DONE, answer=b"y" * 100)
