"""Decisions as they are made, for whoever watches: counters for health, lines for `tail`."""

from collections.abc import Callable
from typing import NamedTuple

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


class Watch:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.watchers: list[Callable[[Decision], None]] = []
        self.refused: dict[str, int] = {}

    def admitted(self, member: Member, route: Route, path: str, request_id: str, cost: int) -> None:
        self._tell(member, route, path, request_id, "", cost, shadow=False)

    def turned_away(
        self, member: Member | None, route: Route, path: str, request_id: str, reason: str, *, shadow: bool
    ) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
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
