"""Usage events on their way into the ledger, column by column: what they share is worked out once."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from metergate.core.hold import Outcome, Terms, TwinFields, UsageEvent


class Lot(NamedTuple):
    """Events of the same terms that all cost something, or all nothing."""

    terms: Terms
    ops: list[str]
    instants: list[int]
    outcomes: list[Outcome]

    @property
    def charged(self) -> bool:
        return self.outcomes[0].cost != 0

    @property
    def counted(self) -> list[tuple[Outcome, int]]:
        """The outcomes, and how many events came to each."""
        if _alike(self.outcomes):
            return [(self.outcomes[0], len(self.outcomes))]
        return [(outcome, 1) for outcome in self.outcomes]

    @property
    def cost(self) -> int:
        """What all its events cost together."""
        return sum([outcome.cost * count for outcome, count in self.counted])


class Batch:
    """Events in the order in which they came. Outcomes that were read from the same bytes are one object."""

    __slots__ = ("instants", "ops", "outcomes", "paths", "request_ids", "twins")

    def __init__(self, events: Iterable[UsageEvent] = ()) -> None:
        self.ops: list[str] = []
        self.request_ids: list[str] = []
        self.instants: list[int] = []
        self.paths: list[str] = []
        self.outcomes: list[Outcome] = []
        self.twins: list[tuple[str, TwinFields, bytes | None]] = []
        """Op, twin and kept answer of the events that have them."""
        for event in events:
            self.add_event(*event)

    def __len__(self) -> int:
        return len(self.ops)

    def __iter__(self) -> Iterator[UsageEvent]:
        twins = {op: (twin, answer) for op, twin, answer in self.twins}
        columns = (self.ops, self.request_ids, self.instants, self.paths, self.outcomes)
        for op, request_id, at_us, path, outcome in zip(*columns, strict=True):
            yield UsageEvent(op, request_id, at_us, path, outcome, *twins.get(op, (None, None)))

    def add(
        self,
        ops: Sequence[str],
        request_ids: Sequence[str],
        instants: Sequence[int],
        paths: Sequence[str],
        outcomes: Sequence[Outcome],
    ) -> None:
        """Add events without a step of Python for each."""
        self.ops.extend(ops)
        self.request_ids.extend(request_ids)
        self.instants.extend(instants)
        self.paths.extend(paths)
        self.outcomes.extend(outcomes)

    def add_event(
        self,
        op: str,
        request_id: str,
        at_us: int,
        path: str,
        outcome: Outcome,
        twin: TwinFields | None = None,
        answer: bytes | None = None,
    ) -> None:
        self.ops.append(op)
        self.request_ids.append(request_id)
        self.instants.append(at_us)
        self.paths.append(path)
        self.outcomes.append(outcome)
        if twin:
            self.twins.append((op, twin, answer))

    def without(self, known: Collection[str]) -> "Batch":
        """What is left without the events that are known, each of the others once."""
        left, seen = Batch(), set(known)
        for event in self:
            if event.op not in seen:
                seen.add(event.op)
                left.add_event(*event)
        return left

    @property
    def alike(self) -> bool:
        """Whether all events came to the same."""
        return _alike(self.outcomes)

    def lots(self) -> list[Lot]:
        """The events by their terms, and by whether they cost anything."""
        if self.alike:
            return [Lot(self.outcomes[0].terms, self.ops, self.instants, self.outcomes)] if self.ops else []
        charged: dict[int, Lot] = {}
        free: dict[int, Lot] = {}
        for op, at_us, outcome in zip(self.ops, self.instants, self.outcomes, strict=True):
            terms = outcome.terms
            lots = charged if outcome.cost else free
            lot = lots.get(id(terms))
            if lot is None:
                lot = lots[id(terms)] = Lot(terms, [], [], [])
            lot.ops.append(op)
            lot.instants.append(at_us)
            lot.outcomes.append(outcome)
        return [*charged.values(), *free.values()]


def _alike(outcomes: Sequence[Outcome]) -> bool:
    return outcomes.count(outcomes[0]) == len(outcomes) if outcomes else True
