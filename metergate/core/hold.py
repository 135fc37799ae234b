"""The life of a hold, as a table, and the values that travel with it.

    NEW --hold--> HELD --dispatch--> DISPATCHED --settle--> SETTLED
                   |                      |-----release--> RELEASED
                   |-----release--> RELEASED
                   |-----expire---> RELEASED   (nothing was dispatched, nothing is owed)
                                          |-----expire---> SETTLED   (by the policy's `on_unknown_outcome`)

A hold that has ended stays ended: the same ending again answers the same, another one is a conflict.

A hold ends with the process that serves its call, unless somebody else serves it: then it stands until an
instant that its id tells, whatever becomes of the process that made it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from metergate.core.budget import Draw, actual_amounts

NEW, HELD, DISPATCHED, SETTLED, RELEASED = (
    "new",
    "held",
    "dispatched",
    "settled",
    "released",
)

TRANSITIONS: Mapping[tuple[str, str], str] = {
    (NEW, "hold"): HELD,
    (HELD, "hold"): HELD,
    (HELD, "renew"): HELD,
    (HELD, "dispatch"): DISPATCHED,
    (HELD, "settle"): SETTLED,
    (HELD, "release"): RELEASED,
    (HELD, "expire"): RELEASED,
    (DISPATCHED, "hold"): DISPATCHED,
    (DISPATCHED, "dispatch"): DISPATCHED,
    (DISPATCHED, "renew"): DISPATCHED,
    (DISPATCHED, "settle"): SETTLED,
    (DISPATCHED, "release"): RELEASED,
    (DISPATCHED, "expire"): SETTLED,
    (SETTLED, "settle"): SETTLED,
    (RELEASED, "release"): RELEASED,
}


STANDING = "hold_"


def standing_op(until_us: int, unique: str) -> str:
    """The id of a hold that stands by itself until then."""
    return f"{STANDING}{until_us:x}_{unique}"


LATE_US = 3600 * 10**6
"""How long after its time a call may still be settled: a window's counter outlives its window by this much,
and a hold that stands by itself is settled no more when neither store nor ledger knows it."""


def stands_until_us(op: str) -> int:
    """Until when a hold stands by itself; 0 where it ends with its process."""
    if not op.startswith(STANDING):
        return 0
    try:
        return int(op.removeprefix(STANDING).partition("_")[0], 16)
    except ValueError:
        return 0


def after(state: str, step: str) -> str | None:
    """The state that a step leads to, or None where it is a conflict."""
    return TRANSITIONS.get((state, step))


class Terms(NamedTuple):
    """What is fixed when a call is admitted; the same for every call of one caller on one route."""

    account: str
    key: str
    plan: str
    policy: str
    service: str
    route: str
    meter: str
    currency: str
    draws: tuple[Draw, ...]
    unknown_units: int = 0
    unknown_cost: int = 0
    """What a dispatched call costs whose end nobody saw."""
    upgraded_from: str = ""


TwinFields = tuple[str, str, int]
"""Id, fingerprint and end of a twin, as events carry them."""


class Outcome(NamedTuple):
    """What a call came to, as far as many calls have it in common."""

    units: int
    dimensions: tuple[tuple[str, str], ...]
    cost: int
    measured: str
    amounts: tuple[int, ...]
    terms: Terms


class UsageEvent(NamedTuple):
    """The fact that a settle leaves behind: one row of usage, and what each budget was charged."""

    op: str
    request_id: str
    at_us: int
    path: str
    outcome: Outcome
    twin: TwinFields | None = None
    answer: bytes | None = None

    @property
    def units(self) -> int:
        return self.outcome.units

    @property
    def dimensions(self) -> tuple[tuple[str, str], ...]:
        return self.outcome.dimensions

    @property
    def cost(self) -> int:
        return self.outcome.cost

    @property
    def measured(self) -> str:
        return self.outcome.measured

    @property
    def amounts(self) -> tuple[int, ...]:
        return self.outcome.amounts

    @property
    def terms(self) -> Terms:
        return self.outcome.terms


Event = tuple[str, str, int, str, bytes, TwinFields | None, bytes | None]
"""A `UsageEvent` whose outcome is bytes already."""


def unknown_outcome(
    op: str, request_id: str, terms: Terms, twin: TwinFields | None, at_us: int
) -> UsageEvent:
    """The event of a dispatched call whose end nobody saw. Its twins hear that it was done."""
    units, cost = terms.unknown_units, terms.unknown_cost
    amounts = actual_amounts(terms.draws, units, cost)
    return UsageEvent(op, request_id, at_us, "", Outcome(units, (), cost, "unknown", amounts, terms), twin)
