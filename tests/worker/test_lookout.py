"""Alarms: once when something begins, once more when it begins again, and each names its page."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from metergate.ports import StoreHealth
from metergate.testing.clock import FakeClock
from metergate.worker.chaining import Chaining
from metergate.worker.lookout import CHAIN_LAG_US, Lookout
from tests.worker.house import House, a_house


class Waiting:
    """A store that says how much waits."""

    def __init__(self) -> None:
        self.backlog = 0

    def health(self) -> StoreHealth:
        return StoreHealth("waiting", True, self.backlog, 0)


class Watched:
    def __init__(self, house: House, steady: Callable[[], int]) -> None:
        self.store = Waiting()
        self.chaining = Chaining(house.ledger, house.clock)
        self.lookout = Lookout(self.store, self.chaining, house.clock, 100, steady)  # type: ignore[arg-type]  # asked for its health only


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as made:
        yield made


@pytest.fixture
def steady(house: House) -> FakeClock:
    return FakeClock(house.clock())


@pytest.fixture
def watched(house: House, steady: FakeClock) -> Watched:
    return Watched(house, steady)


def pages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().rpartition("#")[2] for record in caplog.records]


async def test_a_growing_backlog_is_told_once_until_it_has_shrunk(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    for backlog in (79, 80, 90, 70, 85, 59, 81):
        watched.store.backlog = backlog
        watched.lookout.look()
    assert pages(caplog) == ["the-backlog-grows."] * 2
    assert "80 of 100 usage events wait" in caplog.text


async def test_a_clock_that_jumps_is_told_and_counted(
    watched: Watched, house: House, steady: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for aside_s in (0, 1, -1, 300, 0, -5, 0):
        house.clock.advance(seconds=10 + aside_s)
        steady.advance(seconds=10)
        watched.lookout.look()
    assert pages(caplog) == ["the-clock-jumped."] * 2
    assert watched.lookout.clock_jumps == 2
    assert "jumped by 300.0 seconds" in caplog.text


async def test_a_chain_that_falls_behind_is_told(
    watched: Watched, house: House, steady: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for clock in (house.clock, steady):
        clock.advance(us=CHAIN_LAG_US + 60 * 10**6)
    watched.lookout.look()
    assert pages(caplog) == ["the-chain-is-behind."]
    await watched.chaining.run_once()
    assert watched.chaining.lag_us() == 0
