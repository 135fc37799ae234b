"""Decisions as they are made, for whoever watches: counters for metrics, lines for `tail`."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from metergate.core.policy import Route
from metergate.gate.members import Member
from metergate.ports import Clock


class Decision(NamedTuple):
    at_us: int
    account: str
    key: str
    route: str
    path: str
    request_id: str
    reason: str
    """Empty where the call was admitted."""
    cost: int
    shadow: bool


WAITS = 32
SAMPLED = 8
"""One turn of the event loop in so many is timed."""


class Waits:
    """How long calls waited for their verdict: how many of them less than 2, 4, 8, … microseconds."""

    def __init__(self) -> None:
        self.below = [0] * WAITS
        """How many took at least 2 ** (n - 1) and less than 2 ** n microseconds."""
        self.total_us = 0

    def add(self, us: int, calls: int) -> None:
        us = max(us, 0)  # a clock may go back
        self.below[min(us.bit_length(), WAITS - 1)] += calls
        self.total_us += us * calls


class Watch:
    """Numbers since the process started, and who wants to hear of each decision."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.watchers: list[Callable[[Decision], None]] = []
        self.calls = 0
        """Calls and reports of usage that were admitted, in shadow mode too."""
        self.passed = 0
        """Requests that went on without a hold."""
        self.refused: dict[str, int] = {}
        self.shadowed: dict[str, int] = {}
        """What would have been refused, had shadow mode not let it through."""
        self.waits = Waits()
        self._turns = 0

    def turn(self, calls: int, since_us: int) -> None:
        """Calls that were admitted together; the first of them has waited since an instant."""
        self.calls += calls
        self._turns += 1
        if self._turns % SAMPLED == 0:
            self.waits.add(self._clock() - since_us, calls)

    def admitted(self, member: Member, route: Route, path: str, request_id: str, cost: int) -> None:
        self._tell(member, route, path, request_id, "", cost, shadow=False)

    def turned_away(
        self, member: Member | None, route: Route, path: str, request_id: str, reason: str, *, shadow: bool
    ) -> None:
        counted = self.shadowed if shadow else self.refused
        counted[reason] = counted.get(reason, 0) + 1
        if self.watchers:
            self._tell(member, route, path, request_id, reason, 0, shadow=shadow)

    def _tell(
        self,
        member: Member | None,
        route: Route,
        path: str,
        request_id: str,
        reason: str,
        cost: int,
        *,
        shadow: bool,
    ) -> None:
        account = member.caller.account.id if member else ""
        key = member.caller.key.kid if member and member.caller.key else ""
        now_us = self._clock()
        decision = Decision(now_us, account, key, route.match, path, request_id, reason, cost, shadow)
        for watcher in self.watchers:
            watcher(decision)


def numbers(watches: Sequence[Watch]) -> dict[str, Any]:
    """What metrics say of the decisions."""
    refused, shadowed = Counter[str](), Counter[str]()
    for watch in watches:
        refused.update(watch.refused)
        shadowed.update(watch.shadowed)
    below = [sum(each) for each in zip([0] * WAITS, *[watch.waits.below for watch in watches], strict=True)]
    return {
        "admitted": sum(watch.calls for watch in watches),
        "passed": sum(watch.passed for watch in watches),
        "refused": refused,
        "shadowed": shadowed,
        "waits": {"below": below, "total_us": sum(watch.waits.total_us for watch in watches)},
    }
