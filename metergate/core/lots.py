"""Usage events of the same terms, column by column: what they share is worked out once for all of them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from metergate.core.hold import Outcome, Terms, TwinFields, UsageEvent


class Lot(NamedTuple):
    """Events of the same terms that all cost something, or all nothing."""

    terms: Terms
    ops: list[str]
    request_ids: list[str]
    instants: list[int]
    paths: list[str]
    outcomes: list[Outcome]
    twins: list[tuple[str, TwinFields, bytes | None]]
    """Op, twin and kept answer of the events that have them."""

    @property
    def charged(self) -> bool:
        return self.outcomes[0].cost != 0

    @property
    def alike(self) -> bool:
        """Whether all its events came to the same."""
        return self.outcomes.count(self.outcomes[0]) == len(self.outcomes)

    @property
    def counted(self) -> list[tuple[Outcome, int]]:
        """The outcomes, and how many events came to each."""
        if self.alike:
            return [(self.outcomes[0], len(self.outcomes))]
        return [(outcome, 1) for outcome in self.outcomes]

    @property
    def cost(self) -> int:
        """What all its events cost together."""
        return sum([outcome.cost * count for outcome, count in self.counted])

    def events(self) -> Iterator[UsageEvent]:
        twins = {op: (twin, answer) for op, twin, answer in self.twins}
        columns = (self.ops, self.request_ids, self.instants, self.paths, self.outcomes)
        for op, request_id, at_us, path, outcome in zip(*columns, strict=True):
            yield UsageEvent(op, request_id, at_us, path, outcome, *twins.get(op, (None, None)))


class Lots:
    """A batch of events on its way into the ledger."""

    def __init__(self, events: Iterable[UsageEvent] = ()) -> None:
        # Terms that were read from the same bytes are one object, and objects are cheap to compare.
        self._charged: dict[int, Lot] = {}
        self._free: dict[int, Lot] = {}
        for event in events:
            self.add_event(event)

    def __iter__(self) -> Iterator[Lot]:
        return chain(self._charged.values(), self._free.values())

    def __len__(self) -> int:
        """How many events there are."""
        return sum(len(lot.ops) for lot in self)

    def add(
        self,
        ops: Sequence[str],
        request_ids: Sequence[str],
        instants: Sequence[int],
        paths: Sequence[str],
        outcomes: Sequence[Outcome],
    ) -> None:
        """Add events that came to different ends."""
        for op, request_id, at_us, path, outcome in zip(
            ops, request_ids, instants, paths, outcomes, strict=True
        ):
            lots = self._charged if outcome.cost else self._free
            lot = lots.get(id(outcome.terms)) or self._lot(outcome)
            _, its_ops, its_requests, its_instants, its_paths, its_outcomes, _ = lot
            its_ops.append(op)
            its_requests.append(request_id)
            its_instants.append(at_us)
            its_paths.append(path)
            its_outcomes.append(outcome)

    def add_alike(
        self,
        ops: Sequence[str],
        request_ids: Sequence[str],
        instants: Sequence[int],
        paths: Sequence[str],
        outcome: Outcome,
    ) -> None:
        """The same without a step of Python for each, for events that all came to the same."""
        lot = self._lot(outcome)
        lot.ops.extend(ops)
        lot.request_ids.extend(request_ids)
        lot.instants.extend(instants)
        lot.paths.extend(paths)
        lot.outcomes.extend([outcome] * len(ops))

    def add_event(self, event: UsageEvent) -> None:
        op, request_id, at_us, path, outcome, twin, answer = event
        self.add_alike((op,), (request_id,), (at_us,), (path,), outcome)
        if twin:
            self._lot(outcome).twins.append((op, twin, answer))

    def without(self, known: Collection[str]) -> "Lots":
        """What is left without the events that are known, each of the others once."""
        left, seen = Lots(), set(known)
        for lot in self:
            for event in lot.events():
                if event.op not in seen:
                    seen.add(event.op)
                    left.add_event(event)
        return left

    def _lot(self, outcome: Outcome) -> Lot:
        lots = self._charged if outcome.cost else self._free
        terms = outcome.terms
        lot = lots.get(id(terms))
        if lot is None:
            lot = lots[id(terms)] = Lot(terms, [], [], [], [], [], [])
        return lot
