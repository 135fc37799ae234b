"""A new process takes over what the journal of the last one says."""

from base64 import b64decode
from pathlib import Path

from metergate.core.hold import Outcome, UsageEvent, standing_op
from metergate.core.idempotency import Twin
from metergate.ledger import audit, posting, twins
from metergate.ports import DONE, TWIN_RUNNING, Hold, Settle
from metergate.store import journal
from metergate.store.embedded import EmbeddedStore
from metergate.store.journal import Journal
from metergate.wire import decode_events, encode_event, encode_terms
from metergate.worker.recovery import left_behind, load, recover
from metergate.worker.reviving import Reviving
from tests.worker.house import TERMS, a_house


async def test_ends_and_calls_without_end_come_into_the_ledger_once(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        for op in ("settled", "released", "running"):
            house.hold(op)
        house.hold("held", dispatch=False)
        house.settle("settled")
        house.store.release(("released",), house.clock())
        for _ in range(2):  # a recovery that is killed is done again
            left = await recover(tmp_path / "journal", house.ledger, house.clock)
            assert (len(left.events), left.unknown) == (2, 1)
        rows = {row.id: row for row in await house.rows()}
        assert {id: row.measured for id, row in rows.items()} == {"settled": "measured", "running": "unknown"}
        fresh = EmbeddedStore(None)
        await load(fresh, house.ledger, house.clock)
        house.store.close()
        house.store = fresh
        assert house.balance() == 980


async def test_a_twin_of_a_killed_call_hears_that_it_was_done(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("a", twin=Twin("twin", "print", house.clock() + 10**9))
        await recover(tmp_path / "journal", house.ledger, house.clock)
        [known] = await house.ledger.read(lambda tx: list(twins.live(tx, house.clock())))
        assert (known.twin.id, known.twin.fingerprint, known.op, known.answer) == ("twin", "print", "a", None)


async def test_a_hold_that_stands_by_itself_is_held_again(tmp_path: Path) -> None:
    """The call is served elsewhere, so the death of the process that made its hold says nothing of it."""
    async with a_house(tmp_path) as house:
        now_us = house.clock()
        over, stands, released, unsaid = [
            standing_op(now_us + lasts_us, name)
            for name, lasts_us in {"over": 0, "stands": 10**6, "released": 10**6, "unsaid": 10**6}.items()
        ]
        twin = Twin("twin", "print", now_us + 10**9)
        for op in (over, stands, released, unsaid):
            house.hold(op, twin=twin if op == stands else None)
        house.store.release((released,), now_us)
        event = UsageEvent(unsaid, unsaid, now_us, "/", Outcome(1, (), 10, "measured", (10,), TERMS))
        await house.ledger.write(lambda tx: posting.post(tx, [event]))  # on a disk that was full
        left = await recover(tmp_path / "journal", house.ledger, house.clock)
        assert [row.id for row in await house.rows()] == [over, unsaid]
        fresh = EmbeddedStore(Journal(tmp_path / "next"))
        await load(fresh, house.ledger, house.clock)
        await Reviving(fresh, house.ledger, house.clock).hold_again(left.standing)
        house.store.close()
        house.store = fresh
        assert house.balance() == 1000 - 3 * 10
        assert fresh.hold((_hold("again", twin, now_us),), now_us)[0].status == TWIN_RUNNING
        [again] = left_behind(journal.read(tmp_path / "next"), now_us).standing
        assert (again.op, again.twin) == (stands, twin)
        assert fresh.settle([Settle(stands, (4,), encode_event(event._replace(op=stands)))], now_us) == [DONE]
        assert house.balance() == 1000 - 2 * 10 - 4


def _hold(op: str, twin: Twin, now_us: int) -> Hold:
    return Hold(op, "acct", 1, TERMS.draws, now_us + 10**6, encode_terms(TERMS), op, twin)


async def test_a_record_that_nobody_can_read_is_set_aside(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        other = Journal(tmp_path / "other")
        other.append(journal.SETTLED, b"\xc1")
        other.close()
        left = await recover(tmp_path / "other", house.ledger, house.clock)
        assert left.unreadable == [b"\xc1"]
        assert house.ledger.set_aside == 1
        [kept] = await house.ledger.read(audit.page)
        assert kept.action == "journal.unreadable"


async def test_an_event_that_cannot_be_posted_does_not_stop_the_start(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        for op in ("a", "odd", "b", "running"):
            house.hold(op)
        house.settle("a")
        odd = house.settle_oddly("odd", 2**63)
        house.settle("b")
        for _ in range(2):  # a recovery that is killed is done again
            await recover(tmp_path / "journal", house.ledger, house.clock)
            assert {row.id for row in await house.rows()} == {"a", "b", "running"}
            [kept] = await house.ledger.read(audit.page)
            assert (kept.action, kept.subject) == ("usage.set_aside", "odd")
            assert decode_events(b64decode(kept.details["events"])) == [odd]
