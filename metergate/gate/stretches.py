"""Where a measured call stands in the quantity of its period, at the moment it ends.

What a call uses is known when it ends, so its place among the calls of the period is where it ends: behind
all units that were settled before, wherever the calls stand that still run. The store's counter holds both;
this process knows what its own running calls have set aside.
"""

from collections.abc import Sequence

from metergate.gate.endings import Endings
from metergate.gate.prepared import Prepared
from metergate.ports import AskBudget, CounterStore


class Stretches:
    def __init__(self, store: CounterStore, endings: Endings) -> None:
        self._store = store
        self._endings = endings
        self.at_once = True
        """Whether the store answers without waiting; what one does that waits is for its scripts to say."""
        self._running: dict[str, int] = {}
        """Name of a tally -> the units that running calls hold of it."""

    def entered(self, prepared: Prepared) -> None:
        if prepared.races:
            draw = prepared.draws[prepared.offer.tally]
            self._running[draw.name] = self._running.get(draw.name, 0) + draw.amount

    def left(self, prepared: Prepared) -> None:
        if prepared.races:
            draw = prepared.draws[prepared.offer.tally]
            rest = self._running.get(draw.name, 0) - draw.amount
            if rest > 0:
                self._running[draw.name] = rest
            else:
                self._running.pop(draw.name, None)

    def settled(self, prepared: Prepared) -> int | None:
        """The units of the period that have been settled; None where the store cannot say at once."""
        if not prepared.races or not self.at_once:
            return None
        self._endings.send()
        name = prepared.draws[prepared.offer.tally].name
        told = self._store.state((AskBudget(name),))
        value = told[0] if isinstance(told, Sequence) else None
        return max(0, value - self._running.get(name, 0)) if isinstance(value, int) else None
