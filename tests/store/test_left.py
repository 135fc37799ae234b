"""What a journal says is to be done for the calls of a process that died, wherever it was killed."""

from collections.abc import Sequence

import pytest

from metergate.core.budget import BALANCE, COST, Draw
from metergate.core.hold import Outcome, Terms, UsageEvent, standing_op
from metergate.store.journal import DISPATCHED, GRANTED, INTENDED, POSTED, RELEASED, SENT, SETTLED, Record
from metergate.store.left import Left
from metergate.wire import encode_event, encode_terms, join_events, join_holds

NOW_US = 1_000_000
TERMS = Terms(
    account="acct",
    key="key",
    plan="",
    policy="",
    service="",
    route="",
    meter="calls",
    currency="USD",
    draws=(Draw(BALANCE, "credits:acct", 10, 0, 0, 0, COST),),
    unknown_units=1,
    unknown_cost=7,
)
Line = tuple[int, str]


def record(kind: int, text: str) -> Record:
    ops = text.split()
    if kind in (INTENDED, DISPATCHED):
        terms = [encode_terms(TERMS)] * len(ops)
        return Record(kind, join_holds(ops, ops, terms, [None] * len(ops)))
    if kind == SETTLED:
        outcome = Outcome(1, (), 10, "measured", (10,), TERMS)
        return Record(
            kind, join_events([encode_event(UsageEvent(op, op, NOW_US, "/", outcome)) for op in ops])
        )
    if kind == POSTED:
        return Record(kind, int(text).to_bytes(8, "little"))
    return Record(kind, "\n".join(ops).encode())


def left(*lines: Line) -> Left:
    return Left(enumerate(record(kind, text) for kind, text in lines))


ASKED, GO, ONE, END, BACK, KNOWN, ALONG = (
    INTENDED,
    GRANTED,
    SENT,
    SETTLED,
    RELEASED,
    POSTED,
    DISPATCHED,
)

CASES: Sequence[tuple[str, Sequence[Line], str, str, str]] = [
    # what was written                                       released   unknown  done
    ("nothing", [], "", "", ""),
    ("before the hold left", [(ASKED, "a b")], "a b", "", ""),
    ("after it was granted", [(ASKED, "a b"), (GO, "a")], "", "a b", ""),
    ("one was refused", [(ASKED, "a b c"), (GO, "a 202")], "", "a c", ""),
    ("one only held", [(ASKED, "a b"), (GO, "a 12")], "a", "b", ""),
    ("sent by itself", [(ASKED, "a b"), (ONE, "b")], "a", "b", ""),
    ("some have ended", [(ASKED, "a b"), (GO, "a"), (END, "b")], "", "a", "b"),
    ("all have ended", [(ASKED, "a b"), (GO, "a"), (END, "b a")], "", "", "b a"),
    ("released and not heard of", [(ASKED, "a b"), (GO, "a"), (BACK, "b")], "b", "a", ""),
    ("several released", [(ASKED, "a b"), (GO, "a"), (BACK, "b a")], "b a", "", ""),
    ("the ledger has it", [(ASKED, "a b"), (GO, "a"), (END, "a"), (KNOWN, "3"), (END, "b")], "", "", "b"),
    ("the ledger has all", [(ASKED, "a b"), (GO, "a"), (END, "a b"), (KNOWN, "3")], "", "", ""),
    ("carried along", [(ASKED, "a"), (GO, "a"), (ALONG, "a")], "", "a", ""),
    ("the beginning was forgotten", [(GO, "a"), (ONE, "b"), (ALONG, "c"), (END, "a")], "", "c", "a"),
    ("held again after its end", [(ASKED, "a"), (GO, "a"), (END, "a"), (ASKED, "a"), (GO, "a")], "", "", "a"),
    ("held again while it runs", [(ASKED, "a"), (GO, "a"), (ASKED, "a")], "", "a", ""),
]


@pytest.mark.parametrize(
    ("lines", "released", "unknown", "done"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_every_call_has_one_end(lines: Sequence[Line], released: str, unknown: str, done: str) -> None:
    found = left(*[(kind, text) for kind, text in lines])
    assert (
        " ".join(found.to_release()),
        " ".join(event.op for event in found.unknown(NOW_US)),
        " ".join(event.op for event in found.done()),
    ) == (released, unknown, done)
    assert {event.cost for event in found.unknown(NOW_US)} <= {7}


def test_what_nobody_can_read_is_kept_and_stops_nothing() -> None:
    lines = [
        record(ASKED, "a"),
        Record(SETTLED, b"\xc1"),
        Record(GRANTED, b"a\n22"),
        Record(SENT, b"\xff"),
        record(ONE, "a"),
    ]
    found = Left(enumerate(lines))
    assert found.unreadable == [b"\xc1", b"a\n22", b"\xff"]
    assert [event.op for event in found.unknown(NOW_US)] == ["a"]


def test_a_hold_of_a_front_stands_until_its_time_is_over() -> None:
    stands, over = standing_op(NOW_US + 1, "s"), standing_op(NOW_US, "o")
    found = left((ASKED, f"{stands} {over}"), (GO, stands))
    assert [hold.op for hold in found.standing(NOW_US)] == [stands]
    assert [event.op for event in found.unknown(NOW_US)] == [over]
