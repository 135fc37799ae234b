"""Everything a decision is about."""

from typing import NamedTuple

from metergate.core.asked import NOTHING, Asked
from metergate.core.idempotency import Twin
from metergate.core.policy import Route
from metergate.gate.call import Call, Visit
from metergate.gate.members import Member


class Wish(NamedTuple):
    """Kept, so that the decision can be made again."""

    member: Member
    route: Route
    path: str
    twin: Twin | None
    parent: Call | Visit | None
    units: int | None
    cost: int | None
    strict: bool
    request_id: str
    asked: Asked = NOTHING
    reserve: bool = False
    """Whether it only makes sure that a running call can be paid."""
    until_us: int = 0
    """When the hold of a call ends that somebody else serves; 0 where this process serves it."""
