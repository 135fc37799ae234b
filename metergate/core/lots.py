"""Usage events that came to the same, column by column: what they share is worked out once for all."""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from metergate.core.hold import Outcome, TwinFields, UsageEvent


class Lot(NamedTuple):
    outcome: Outcome
    ops: list[str]
    request_ids: list[str]
    instants: list[int]
    paths: list[str]
    twins: list[tuple[str, TwinFields, bytes | None]]
    """Op, twin and kept answer of the events that have them."""

    @property
    def cost(self) -> int:
        """What all its events cost together."""
        return self.outcome.cost * len(self.ops)

    def own(self) -> Iterator[tuple[str, str, int, str]]:
        """What each event has for itself."""
        return zip(self.ops, self.request_ids, self.instants, self.paths, strict=True)


def lots_of(events: Iterable[UsageEvent]) -> list[Lot]:
    # Outcomes that were read from the same bytes are one object, and objects are cheap to compare.
    lots: dict[int, Lot] = {}
    for op, request_id, at_us, path, outcome, twin, answer in events:
        lot = lots.get(id(outcome))
        if lot is None:
            lot = lots[id(outcome)] = Lot(outcome, [], [], [], [], [])
        lot.ops.append(op)
        lot.request_ids.append(request_id)
        lot.instants.append(at_us)
        lot.paths.append(path)
        if twin:
            lot.twins.append((op, twin, answer))
    return list(lots.values())


def merged(lots: Iterable[Lot]) -> list[Lot]:
    """Lots of the same outcome as one; the ones given are left as they are."""
    found: dict[int, Lot] = {}
    for lot in lots:
        known = found.get(id(lot.outcome))
        if known is None:
            known = found[id(lot.outcome)] = Lot(lot.outcome, [], [], [], [], [])
        known.ops.extend(lot.ops)
        known.request_ids.extend(lot.request_ids)
        known.instants.extend(lot.instants)
        known.paths.extend(lot.paths)
        known.twins.extend(lot.twins)
    return list(found.values())


def without(lots: Iterable[Lot], known: Collection[str]) -> list[Lot]:
    """What is left of lots without the events that are known, each of the others once."""
    seen = set(known)
    left = []
    for lot in lots:
        twins = {op: (twin, answer) for op, twin, answer in lot.twins}
        for op, request_id, at_us, path in lot.own():
            if op not in seen:
                seen.add(op)
                left.append(UsageEvent(op, request_id, at_us, path, lot.outcome, *twins.get(op, ())))
    return lots_of(left)
