"""A hold whose time is over ends by what is known of its call."""

from pathlib import Path

from metergate.core.idempotency import Twin
from metergate.wire import decode_events
from metergate.worker.reaper import Reaper
from tests.worker.house import a_house


async def test_what_was_never_dispatched_is_given_back(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("a", dispatch=False)
        assert house.balance() == 990
        house.clock.advance(us=10**6)
        assert await Reaper(house.store, house.clock).run_once() == 1
        assert house.balance() == 1000
        assert house.store.drain(10) == []


async def test_what_was_dispatched_costs_what_its_terms_say_and_its_twins_hear_of_it(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("a", twin=Twin("twin", "print", house.clock() + 10**9))
        house.clock.advance(us=10**6)
        await Reaper(house.store, house.clock).run_once()
        assert house.balance() == 990
        [event] = decode_events(house.store.drain(10)[0].events)
        assert (event.op, event.measured, event.cost) == ("a", "unknown", 10)
        assert event.twin is not None and event.twin[0] == "twin"


async def test_a_hold_that_lasts_is_left_alone(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("a")
        house.clock.advance(us=10**6 - 1)
        assert await Reaper(house.store, house.clock).run_once() == 0
        house.settle("a")
        assert house.balance() == 990


async def test_a_settle_that_comes_after_the_reaper_changes_nothing(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        house.hold("a")
        house.clock.advance(us=10**6)
        await Reaper(house.store, house.clock).run_once()
        house.settle("a")
        assert house.balance() == 990
        assert len(house.store.drain(10)) == 1
