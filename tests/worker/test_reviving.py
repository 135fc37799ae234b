"""Calls that a store has lost are charged again, each once, whoever comes in between."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metergate.core.budget import BALANCE, COST, RATE, SLOTS, Draw
from metergate.core.hold import Outcome, UsageEvent
from metergate.errors import StoreUnavailable
from metergate.ports import CONFLICT, DONE, Held, Hold, Settle
from metergate.wire import encode_event
from metergate.worker.reviving import Reviving
from tests.worker.house import TERMS, House, a_house

DRAWS = (
    Draw(SLOTS, "open", 1, 0, 5),
    Draw(RATE, "rate", 1, 1000, 10**6),
    Draw(BALANCE, "credits:acct", 10, 0, 0, 0, COST),
)


def ended(house: House, cost: int) -> Settle:
    """The end of one call, at some cost."""
    amounts, terms = (0, 1, cost), TERMS._replace(draws=DRAWS)
    event = UsageEvent("op", "op", house.clock(), "/", Outcome(1, (), cost, "measured", amounts, terms))
    return Settle("op", amounts, encode_event(event))


async def charge(house: House, cost: int, store: object = None) -> None:
    """What one process does about the call."""
    found: Any = store or house.store
    await Reviving(found, house.ledger, house.clock).settle_again([ended(house, cost)])


class Killed(Exception):
    """The process is gone."""


class Around:
    """The store as one process sees it."""

    def __init__(self, house: House) -> None:
        self.house = house

    def __getattr__(self, name: str) -> Any:
        return getattr(self.house.store, name)


class Dying(Around):
    """As it is seen by a process that is killed when it has set the call aside."""

    def hold(self, batch: Sequence[Hold], now_us: int) -> Sequence[Held]:
        self.house.store.hold(batch, now_us)
        raise Killed


class Raced(Around):
    """As it is seen by one that is overtaken as soon as it has heard that nobody knows of the call."""

    overtaken = False

    async def settle(self, batch: Sequence[Settle], now_us: int) -> Sequence[str]:
        answers = self.house.store.settle(batch, now_us)
        if not self.overtaken:
            self.overtaken = True
            with pytest.raises(Killed):
                await charge(self.house, 30, Dying(self.house))
        return answers


async def test_a_lost_call_is_charged_once(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        for _ in range(2):
            await charge(house, 30)
            assert house.balance() == 970
        assert house.store.settle([ended(house, 30)], house.clock()) == [DONE]
        assert house.store.settle([ended(house, 31)], house.clock()) == [CONFLICT]


async def test_what_one_process_sets_aside_is_never_charged_under_the_figures_of_another(
    tmp_path: Path,
) -> None:
    async with a_house(tmp_path) as house:
        with pytest.raises(StoreUnavailable):
            await charge(house, 7, Raced(house))
        assert house.balance() == 970
        await charge(house, 7)
        assert house.balance() == 993
        assert house.store.settle([ended(house, 7)], house.clock()) == [DONE]
