"""From method and path to the rule of the policy, remembered for the next request like it."""

import dataclasses
from itertools import count
from typing import NamedTuple

from metergate.core import match
from metergate.core.policy import Policy, Route
from metergate.core.refusal import Refusal

REMEMBERED = 8192
PATH_REMEMBERED = 1024
"""Longer paths, which only scanners send, are looked up every time."""

Dimensions = tuple[tuple[str, str], ...]

NOWHERE = Route(-1, "", "*", "")
"""What stands in the place of a rule where no rule names the request."""


class Found(NamedTuple):
    """What a method and a path lead to."""

    route: Route | None
    path: str
    refusal: Refusal | None = None


class MeteredCall(NamedTuple):
    """A found rule that counts."""

    route: Route
    path: str


class Routes:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._indexes = count(len(policy.routes))
        """Indexes for the rules that are made here and stand in no file."""
        self._match = match.compile(policy.routes)
        self._found: dict[tuple[str, bytes], Found] = {}
        self.metered_calls: dict[tuple[str, bytes], MeteredCall] = {}
        """The requests found a moment ago whose rule wants a key and a hold."""
        self._reported: dict[tuple[str, str, Dimensions], Route] = {}
        self._metered: dict[tuple[int, str], Route] = {}

    def find(self, method: str, raw_path: bytes) -> Found:
        found = self._found.get((method, raw_path))
        if found is None:
            found = self._look(method, raw_path)
            if found.route is not None and len(raw_path) <= PATH_REMEMBERED:
                self._remember(method, raw_path, found.route, found)
        return found

    def reads(self, route: Route) -> bool:
        """Whether the body of a request is read before it is decided about."""
        meter = self._policy.meters.get(route.meter)
        return meter is not None and meter.reads_request

    def _remember(self, method: str, raw_path: bytes, route: Route, found: Found) -> None:
        """Only what leads to a rule: what is refused can be sent by anybody, in any number."""
        if len(self._found) >= REMEMBERED:
            self._found.clear()
            self.metered_calls.clear()
        self._found[method, raw_path] = found
        if route.meter and not (route.free or route.public or self.reads(route)):
            self.metered_calls[method, raw_path] = MeteredCall(route, found.path)

    def _look(self, method: str, raw_path: bytes) -> Found:
        if method not in match.METHODS:
            return Found(None, "", Refusal("bad_request", "Use an ordinary HTTP method in capital letters."))
        path, problem = match.canonical(raw_path)
        if problem:
            return Found(None, "", Refusal("bad_request", problem))
        route = self._match(method, path)
        if route is None and self._policy.default == "deny":
            return Found(None, path, Refusal("route_not_in_policy"))
        return Found(route, path)

    def reported(self, meter: str, service: str, dimensions: Dimensions) -> Route:
        """The rule of usage that is reported and not seen: no route of the policy, only its price."""
        found = self._reported.get((meter, service, dimensions))
        if found is None:
            if len(self._reported) >= REMEMBERED:
                self._reported.clear()
            found = Route(
                next(self._indexes), "reported", "*", "", meter=meter, service=service, dimensions=dimensions
            )
            self._reported[meter, service, dimensions] = found
        return found

    def metered(self, route: Route, meter: str) -> Route:
        """The same rule, counting another meter that is not measured but told."""
        found = self._metered.get((route.index, meter))
        if found is None:
            index = next(self._indexes)
            found = dataclasses.replace(route, index=index, meter=meter, hold_nanos=0, hold_units=1)
            self._metered[route.index, meter] = found
        return found
