"""Where a measured call stands in the quantity of its period, at the moment it ends.

What a call uses is known when it ends, so its place among the calls of the period is where it ends: behind
all units that were settled before, wherever the calls stand that still run. The store's counter holds both;
this process knows what its own running calls have set aside. Those that end while a store behind a network
is being asked share its answer, one behind the other.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from metergate.errors import StoreUnavailable
from metergate.gate.endings import Endings
from metergate.gate.prepared import Prepared
from metergate.ports import AskBudget, CounterStore, Told

Then: TypeAlias = Callable[[int | None], None]
"""What is done with the units that were settled before; None where the store cannot say."""


class Stretches:
    def __init__(self, store: CounterStore, endings: Endings) -> None:
        self._store = store
        self._endings = endings
        self._running: dict[str, int] = {}
        """Name of a tally -> the units that running calls hold of it."""
        self._waiting: dict[str, list[Then]] = {}
        """Name of a tally that is being asked for -> who waits for it."""
        self._since: dict[str, int] = {}
        """By how much calls that have ended since have moved it."""

    def entered(self, prepared: Prepared) -> None:
        if prepared.races:
            draw = prepared.draws[prepared.offer.tally]
            self._running[draw.name] = self._running.get(draw.name, 0) + draw.amount

    def left(self, prepared: Prepared, units: int) -> None:
        """A call has ended that came to so many units."""
        if prepared.races:
            draw = prepared.draws[prepared.offer.tally]
            if draw.name in self._since:
                self._since[draw.name] += units - draw.amount
            rest = self._running.get(draw.name, 0) - draw.amount
            if rest > 0:
                self._running[draw.name] = rest
            else:
                self._running.pop(draw.name, None)

    def place(self, prepared: Prepared, then: Then) -> None:
        """Go on with the units of the period that have been settled: at once, where the store can."""
        if not prepared.races:
            then(None)
            return
        name = prepared.draws[prepared.offer.tally].name
        if name in self._waiting:
            self._waiting[name].append(then)
            return
        self._endings.send()
        try:
            told = self._store.state((AskBudget(name),))
        except StoreUnavailable:
            then(None)
            return
        if isinstance(told, Sequence):
            then(self._settled(name, told[0]))
        else:
            self._waiting[name], self._since[name] = [then], 0
            self._endings.follow(told, partial(self._told, name))

    def _told(self, name: str, asked: "asyncio.Future[Sequence[Told]]") -> None:
        value = None if asked.exception() else asked.result()[0]
        for then in self._waiting.pop(name):
            then(self._settled(name, value))
        self._since.pop(name)

    def _settled(self, name: str, value: Told) -> int | None:
        if not isinstance(value, int):
            return None
        return max(0, value + self._since.get(name, 0) - self._running.get(name, 0))
