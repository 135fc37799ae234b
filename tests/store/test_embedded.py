"""What the embedded store promises beyond the contract: its journal, a full disk, and bounded memory."""

from itertools import count
from pathlib import Path
from time import perf_counter

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
    PutTwin,
    Settle,
    StoreHealth,
)
from metergate.store import embedded
from metergate.store.embedded import EmbeddedStore
from metergate.store.journal import DISPATCHED, RELEASED, SETTLED, Journal, read, segment_numbers
from metergate.store.outbox import EVENTS_AT_ONCE
from metergate.store.twins import Twins
from metergate.testing.clock import START_US
from metergate.testing.conformance.bench import an_event
from metergate.wire import decode_events, decode_holds, encode_terms
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


def settle(store: EmbeddedStore, *ops: str, size: int = 100) -> list[str]:
    """Ends calls together; their events take about so many bytes each."""
    return list(store.settle([Settle(op, (1,), an_event(op, "x" * size)) for op in ops], START_US))


def start(store: EmbeddedStore, *ops: str) -> None:
    """Calls that have reached the app."""
    for op in ops:
        assert hold(store, op).status == GRANTED
        store.dispatch(op)


def waiting(store: EmbeddedStore) -> list[str]:
    return [event.op for entry in store.drain(1000) for event in decode_events(entry.events)]


def balance(store: EmbeddedStore) -> object:
    return store.state((AskBudget("credits:acct"),))[0]


def flush(store: EmbeddedStore, events: int = 1000) -> None:
    store.acknowledge([entry.id for entry in store.drain(events)])


def journalled(folder: Path) -> list[tuple[int, str]]:
    """What every record tells of: its kind, and a call."""
    found: list[tuple[int, str]] = []
    for kind, payload in read(folder):
        if kind == DISPATCHED:
            found += [(kind, op) for op, *_ in decode_holds(payload)]
        elif kind == SETTLED:
            found += [(kind, event.op) for event in decode_events(payload)]
        else:
            found.append((kind, payload.decode()))
    return found


def test_the_journal_tells_of_every_call_that_reached_the_app_and_of_every_end(tmp_path: Path) -> None:
    store = opened(tmp_path)
    start(store, "a", "b")
    hold(store, "never dispatched")
    hold(store, "recorded")
    hold(store, "too dear", Draw(BALANCE, "credits:acct", 10_000, 0, 0, 0, COST))
    settle(store, "a", "recorded")
    store.release(("b", "never dispatched"), START_US)
    assert journalled(tmp_path) == [
        (DISPATCHED, "a"),
        (DISPATCHED, "b"),
        (SETTLED, "a"),
        (SETTLED, "recorded"),
        (RELEASED, "b"),
    ]
    assert decode_holds(next(read(tmp_path)).payload) == [("a", "req-a", FACTS, None)]


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


def test_a_call_that_runs_is_carried_along(tmp_path: Path) -> None:
    store = opened(tmp_path)
    start(store, "long")
    hold(store, "never dispatched")
    for n in range(60):
        start(store, str(n))
        settle(store, str(n))
        flush(store)
    assert len(segment_numbers(tmp_path)) <= 3
    assert (DISPATCHED, "long") in journalled(tmp_path)
    assert (DISPATCHED, "never dispatched") not in journalled(tmp_path)
    assert settle(store, "long", "never dispatched") == [DONE, DONE]


def test_with_a_full_disk_no_call_is_dispatched_and_every_end_is_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    start(store, "a", "b")
    hold(store, "c")
    settle(store, "a", size=700)
    with full_disk():
        assert settle(store, "b", size=700) == [DONE]
        assert not store.health().ok
        with pytest.raises(StoreUnavailable, match="make room in the data folder"):
            store.dispatch("c")
        with pytest.raises(OSError, match="File too large"):
            store.prepare()
    with pytest.raises(StoreUnavailable, match="make room in the data folder"):
        store.dispatch("c")
    assert [each.dispatched for each in store.expire(START_US + HOUR_US, 9)] == [False]
    store.prepare()
    assert store.health().ok
    store.dispatch("c")
    assert waiting(store) == ["a", "b"]
    flush(store)
    assert waiting(store) == []


def test_a_dispatch_that_finds_no_room_says_so(tmp_path: Path) -> None:
    store = opened(tmp_path)
    start(store, "a")
    settle(store, "a", size=840)
    hold(store, "b")
    with full_disk(), pytest.raises(StoreUnavailable, match=r"cannot grow \(File too large\); make room"):
        store.dispatch("b")
    store.dispatch("b")
    assert journalled(tmp_path)[-1] == (DISPATCHED, "b")


def test_a_hold_that_cannot_tell_of_its_dispatch_takes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    start(store, "a")
    settle(store, "a", size=840)
    before = store.state([AskBudget("credits:acct")])
    draws = (Draw(BALANCE, "credits:acct", 1, 0, 0, 0, COST),)
    hold = Hold("b", "acct", 1, draws, START_US + HOUR_US, TERMS, "req-b", dispatched=True)
    with full_disk(), pytest.raises(StoreUnavailable, match=r"cannot grow"):
        store.hold([hold], START_US)
    assert store.state([AskBudget("credits:acct")]) == before
    assert store.hold([hold], START_US)[0].status == GRANTED
    assert journalled(tmp_path)[-1] == (DISPATCHED, "b")


def test_an_event_that_was_not_journalled_costs_no_event_that_was(tmp_path: Path) -> None:
    """Its place in the outbox says nothing of the segments that the events behind it need."""
    store = opened(tmp_path)
    hold(store, "a")
    hold(store, "not journalled")
    settle(store, "a", size=700)
    with full_disk():
        settle(store, "not journalled", size=700)
    store.prepare()
    hold(store, "kept")
    settle(store, "kept")
    for n in range(40):
        hold(store, str(n))
        settle(store, str(n))
    a, unwritten, _, *others = store.drain(100)
    store.acknowledge([a.id, *(entry.id for entry in others)])
    assert (SETTLED, "kept") in journalled(tmp_path)
    store.acknowledge([unwritten.id])
    assert (SETTLED, "kept") in journalled(tmp_path)
    assert waiting(store) == ["kept"]


def test_a_full_disk_does_not_keep_the_ledger_from_taking_events(tmp_path: Path) -> None:
    """Acknowledging needs no room; what could not be carried along stays where it is."""
    store = opened(tmp_path)
    start(store, "long")
    for n in range(20):
        hold(store, str(n))
        settle(store, str(n))
    for n in range(20, 40):
        hold(store, str(n))
    with full_disk():
        for n in range(20, 40):
            settle(store, str(n))
        flush(store)
    assert store.health().backlog == 0
    assert (DISPATCHED, "long") in journalled(tmp_path)
    assert settle(store, "long") == [DONE]


def test_many_ends_are_kept_in_entries_of_a_bounded_size(tmp_path: Path) -> None:
    store = opened(tmp_path, room=65536)
    ops = [str(n) for n in range(2 * EVENTS_AT_ONCE + 3)]
    for op in ops:
        hold(store, op)
    settle(store, *ops, size=10)
    entries = [len(decode_events(entry.events)) for entry in store.drain(10)]
    assert entries == [EVENTS_AT_ONCE, EVENTS_AT_ONCE, 3]
    assert waiting(store) == ops
    assert store.health().backlog == len(ops)


def test_a_store_without_a_journal_writes_nothing(tmp_path: Path) -> None:
    store = opened(None)
    hold(store, "a")
    settle(store, "a")
    store.prepare()
    store.sync_to_disk()
    flush(store)
    store.close()
    assert store.health() == StoreHealth("memory", True, 0, 0)


def test_closing_keeps_what_was_not_flushed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    hold(store, "a")
    settle(store, "a")
    store.sync_to_disk()
    store.close()
    assert journalled(tmp_path) == [(SETTLED, "a")]


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


def test_a_twin_takes_no_memory_once_its_time_is_over() -> None:
    store = opened(None)
    store.sync((PutTwin(Twin("t", "same", START_US + 1), b"answer"),), START_US)
    assert len(store._twins._done) == 1
    store.expire(START_US + 1, 1)
    assert len(store._twins._done) == 0


def test_repetitions_are_remembered_for_some_time_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ENDED_KEPT", 10)
    store = opened(None)
    for n in range(30):
        hold(store, f"call-{n}")
        settle(store, f"call-{n}")
        store.sync((Adjust(f"grant-{n}", "acct", 1),), START_US)
    assert settle(store, "call-29", "call-20", "call-0") == [DONE, DONE, UNKNOWN]
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


def test_an_answer_that_replaces_another_counts_once() -> None:
    """A key is used again after its day, before the old answer is purged."""
    twins = Twins(answers_max=100)
    again = Twin("a", "f", START_US + 1)
    for _ in range(5):
        twins.ended(again, b"x" * 40)
    twins.ended(Twin("b", "f", START_US + 1), b"x" * 40)
    assert twins.verdict(again, START_US) == Held(TWIN_DONE, answer=b"x" * 40)


def test_the_work_of_an_end_does_not_grow_with_the_calls_before_it() -> None:
    """Ends run on the event loop: a walk over all that was let go before would take minutes here."""
    twins = Twins(answers_max=100)
    started = perf_counter()
    for number in range(100_000):
        twins.ended(Twin(str(number), "f", START_US + 1), b"x" * 100)
    assert perf_counter() - started < 5
    assert twins.verdict(Twin("99998", "f", START_US + 1), START_US) == Held(TWIN_DONE)
    assert twins.verdict(Twin("99999", "f", START_US + 1), START_US) == Held(TWIN_DONE, answer=b"x" * 100)
