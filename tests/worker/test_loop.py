"""The rounds of the worker: one outage is one line, and what is out of reach does not stop the rest."""

import logging
from pathlib import Path

import pytest

from metergate.errors import StoreUnavailable
from metergate.ledger.errors import LedgerUnavailable
from metergate.worker.loop import Worker
from tests.worker.house import House, a_house


def worker_of(house: House, live: tuple[object, ...] = ()) -> Worker:
    return Worker(house.store, house.ledger, house.clock, lambda: live, house.store)  # type: ignore[arg-type, return-value]


class Running:
    """A call of this process that goes on."""

    def __init__(self, op: str, hold_for_us: int) -> None:
        self.op = op
        self.hold_for_us = hold_for_us


async def test_a_call_that_is_still_running_keeps_its_hold(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("long", lasts_us=90 * 10**6)
        worker = worker_of(house, (Running("long", 90 * 10**6),))
        for _ in range(5):
            house.clock.advance(us=60 * 10**6)
            await worker.run_once()
        assert house.store.drain(10) == []
        house.settle("long")
        assert house.balance() == 990


async def test_a_disk_without_room_does_not_keep_the_ledger_from_taking_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full:
        def prepare(self) -> None:
            raise OSError(28, "No space left on device")

        def sync_to_disk(self) -> None: ...

    async with a_house(tmp_path) as house:
        worker = Worker(house.store, house.ledger, house.clock, lambda: (), Full())
        house.hold("a")
        house.settle("a")
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                house.clock.advance(us=10**6)
                await worker.run_once()
        assert len(await house.rows()) == 1
        assert "No space left on device" in worker.outage
        assert len(caplog.records) == 1


async def test_the_worker_ends_with_an_empty_outbox(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        worker = worker_of(house)
        worker.start()
        house.hold("a")
        house.settle("a")
        await worker.stop()
        assert len(await house.rows()) == 1


async def test_an_outage_at_the_end_is_no_error(tmp_path: Path) -> None:
    """What is left is in the journal, for the next process."""
    async with a_house(tmp_path) as house:
        worker = worker_of(house)

        async def away() -> int:
            raise StoreUnavailable("away")

        worker.flusher.run_dry = away  # type: ignore[method-assign]
        await worker.stop()


async def test_the_lag_grows_while_the_ledger_is_away(tmp_path: Path) -> None:
    """And is nothing again once what waited is in the ledger."""
    async with a_house(tmp_path) as house:
        worker = worker_of(house)
        assert "lag_us" not in worker.numbers()  # who does not post knows nothing of it
        worker.start()
        house.hold("a")
        house.settle("a")
        write = house.ledger.ledger.write

        def away() -> object:
            raise LedgerUnavailable("away")

        house.ledger.ledger.write = away  # type: ignore[method-assign, assignment]  # the database is gone
        house.clock.advance(us=10**6)
        await worker.run_once()
        house.clock.advance(us=5 * 10**6)
        numbers = worker.numbers()
        assert (numbers["lag_us"], numbers["posted"]) == (6 * 10**6, 0)
        assert numbers["ledger_errors"] >= 1
        house.ledger.ledger.write = write  # type: ignore[method-assign]
        await worker.run_once()
        numbers = worker.numbers()
        assert (numbers["lag_us"], numbers["posted"], numbers["set_aside"]) == (0, 1, 0)
        await worker.stop()
