"""Events move from the outbox into the ledger once, whatever happens in between."""

from base64 import b64decode
from pathlib import Path

import pytest

from metergate.core.hold import Terms
from metergate.ledger import accounts, audit
from metergate.ledger.errors import LedgerUnavailable
from metergate.ports import AskAccount, Settle
from metergate.wire import decode_events
from metergate.worker.flusher import FEWEST, MOST, Flusher, post_entries
from tests.worker.house import TERMS, House, a_house


async def test_what_was_settled_is_in_the_ledger_and_leaves_the_outbox(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        for op in ("a", "b", "c"):
            house.hold(op)
        house.settle("a", "b")
        house.settle("c")
        flusher = Flusher(house.store, house.ledger, house.clock)
        assert await flusher.run_dry() == 2
        assert sorted(row.id for row in await house.rows()) == ["a", "b", "c"]
        assert house.store.drain(10) == []


async def test_a_commit_whose_acknowledgement_was_lost_is_repeated_without_effect(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("a")
        house.settle("a")
        entries = house.store.drain(10)
        flusher = Flusher(house.store, house.ledger, house.clock)
        await house.ledger.write(lambda tx: post_entries(tx, entries, house.clock))
        assert house.store.drain(10) == entries
        await flusher.run_dry()
        assert [row.cost for row in await house.rows()] == [10]


async def test_while_the_ledger_is_away_nothing_leaves_the_outbox(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("a")
        house.settle("a")
        flusher = Flusher(house.store, _Away(house), house.clock)  # type: ignore[arg-type]  # a broken thread
        with pytest.raises(LedgerUnavailable):
            await flusher.run_once()
        assert len(house.store.drain(10)) == 1


class _Away:
    def __init__(self, house: House) -> None:
        self.ledger = house.ledger

    async def write(self, _work: object) -> object:
        raise LedgerUnavailable("away")


async def test_an_event_that_nobody_can_read_is_kept_and_blocks_nobody(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("broken")
        house.hold("fine")
        broken = ("broken", "broken", house.clock(), "/", b"\xc1nonsense", None, None)
        house.store.settle((Settle("broken", None, broken),), house.clock())
        house.settle("fine")
        await Flusher(house.store, house.ledger, house.clock).run_dry()
        assert [row.id for row in await house.rows()] == ["fine"]
        [kept] = await house.ledger.read(audit.page)
        assert kept.action == "usage.unreadable"
        assert house.store.drain(10) == []


@pytest.mark.parametrize("place", [0, 2, 4])
async def test_an_event_that_cannot_be_posted_is_kept_and_blocks_nobody(tmp_path: Path, place: int) -> None:
    async with a_house(tmp_path) as house:
        for op in ("a", "b", "c", "d", "odd"):
            house.hold(op)
        for op in "abcd"[:place]:
            house.settle(op)
        odd = house.settle_oddly("odd", 2**63)
        for op in "abcd"[place:]:
            house.settle(op)
        broken = ("broken", "broken", house.clock(), "/", b"\xc1nonsense", None, None)
        house.hold("broken")
        house.store.settle((Settle("broken", None, broken),), house.clock())
        assert await Flusher(house.store, house.ledger, house.clock).run_dry() == 6
        assert [row.id for row in reversed(await house.rows())] == ["a", "b", "c", "d"]
        kept = {row.action: row.details for row in await house.ledger.read(audit.page)}
        assert kept.keys() == {"usage.unreadable", "usage.set_aside"}
        assert house.ledger.set_aside == 2
        assert decode_events(b64decode(kept["usage.set_aside"]["events"])) == [odd]
        assert house.store.drain(10) == []


async def test_an_account_that_outgrew_its_plan_is_on_the_next_one_for_the_store_too(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await house.ledger.write(lambda tx: accounts.assign_plan(tx, "acct", "small", 1, "test"))
        terms: Terms = TERMS._replace(plan="large", upgraded_from="small")
        house.hold("a")
        house.settle("a", terms=terms)
        await Flusher(house.store, house.ledger, house.clock).run_dry()
        told = house.store.state((AskAccount("acct"),))[0]
        assert told is not None and not isinstance(told, int)
        assert told.account.plan == "large"
        assert told.generation == 2


async def test_small_entries_travel_in_larger_batches_and_large_ones_in_smaller(tmp_path: Path) -> None:
    """A transaction takes about as many events however the calls were settled."""
    async with a_house(tmp_path, grant=10**6) as house:
        flusher = Flusher(house.store, house.ledger, house.clock)
        for n in range(FEWEST + MOST + 10):
            house.hold(f"op{n}")
            house.settle(f"op{n}")
        assert (await flusher.run_once(), flusher.more) == (FEWEST, True)
        assert (await flusher.run_once(), flusher.more) == (MOST, True)
        assert (await flusher.run_once(), flusher.more) == (10, False)
        assert await flusher.run_once() == 0
        assert house.balance() == 10**6 - 10 * (FEWEST + MOST + 10)
