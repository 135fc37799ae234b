"""What a hold consists of: the draws of a call, in the order of precedence among refusals.

Open calls, rates, quotas, what open calls hold, unit caps, spending caps, and the balance last: a store that
finds the first draw that does not fit has found the reason that the caller is told.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from metergate.core.asked import NOTHING, Asked, Dimensions
from metergate.core.budget import BALANCE, COST, QUOTA, RATE, SLOTS, UNBOUNDED, UNITS, Draw
from metergate.core.facts import Caller
from metergate.core.periods import Every, Window, window
from metergate.core.policy import Cap, Concurrency, Limit, Plan, Policy, Route, Scope
from metergate.core.tariff import Tariff

FIXED_COUNTS = frozenset({"calls", "app"})
"""Counters whose units are known before the call."""

INTERVALS_US: Mapping[Every, int] = {
    "second": 10**6,
    "minute": 60 * 10**6,
    "hour": 3600 * 10**6,
    "day": 86_400 * 10**6,
    "week": 7 * 86_400 * 10**6,
    "month": 30 * 86_400 * 10**6,
    "year": 365 * 86_400 * 10**6,
}
"""A rate is evened out over a fixed length; the windows of quotas and caps follow the calendar."""


def fixed(policy: Policy, route: Route) -> bool:
    """Whether the units of a call on the route are known before it."""
    meter = policy.meters.get(route.meter)
    return meter is None or meter.count in FIXED_COUNTS or meter.known_before


class Case(NamedTuple):
    """One caller on one route at one instant."""

    policy: Policy
    plan: Plan
    caller: Caller
    route: Route
    now_us: int
    asked: Asked = NOTHING

    @property
    def dimensions(self) -> Dimensions:
        return (*self.route.dimensions, *self.asked.dimensions)

    @property
    def fixed(self) -> bool:
        return fixed(self.policy, self.route)

    def window(self, every: Every, scope: Scope = "account") -> Window:
        """The window of now; accounts that share a budget share its window too, so that one has no anchor."""
        since_us = self.caller.account.plan_since_us
        anchor = since_us if self.plan.anchored and since_us and scope != "plan" else None
        return window(every, self.now_us, self.policy.zone, anchor)

    def subject(self, scope: str) -> str:
        """Whom a limit of that scope counts; empty where it does not apply to this caller."""
        if scope == "account":
            return self.caller.account.id
        if scope == "plan":
            return self.plan.id
        return self.caller.key.kid if self.caller.key else ""


def gates(case: Case) -> list[Draw]:
    """Open calls, then rates: what refuses a call whatever it costs."""
    policy, plan = case.policy, case.plan
    slots = [_slots(case, each) for each in (*policy.concurrency, *plan.concurrency) if not each.held]
    rates = [_rate(case, each) for each in (*policy.limits, *plan.limits)]
    return _distinct([draw for draw in (*slots, *rates) if draw])


def tally_window(case: Case, tariff: Tariff) -> Window:
    return case.window(tariff.included.every if tariff.included else "month")


def tally_name(case: Case, period: Window) -> str:
    return f"used:{case.caller.account.id}:{case.route.meter}:{period.id}"


def tally(case: Case, tariff: Tariff, units: int, used: Mapping[str, int]) -> Draw | None:
    """The draw that counts the period's quantity, where the price depends on it."""
    if not tariff.tiered:
        return None
    period = tally_window(case, tariff)
    name = tally_name(case, period)
    low, high = tariff.bounds(units, used.get(name, 0))
    return Draw(QUOTA, name, units, low, high, period.end_us, UNITS)


def held(case: Case, nanos: int) -> list[Draw]:
    """What the open calls hold together, where that is bounded; who holds nothing more is never refused."""
    limits = (*case.policy.concurrency, *case.plan.concurrency)
    if not nanos or not limits:
        return []
    found = [_held(case, each, nanos) for each in limits if each.held]
    return _distinct([draw for draw in found if draw])


def caps(case: Case, units: int, nanos: int) -> list[Draw]:
    """Caps on units first, caps on money after them."""
    found = [_cap(case, cap, units, nanos) for cap in _caps(case) if cap.meter in ("", case.route.meter)]
    return sorted(_distinct([draw for draw in found if draw]), key=lambda draw: draw.follows == COST)


def money(case: Case, tariff: Tariff, nanos: int) -> list[Draw]:
    """The draw on the balance. A call that costs nothing draws only if it may come to cost something."""
    if nanos == 0 and (case.fixed or not tariff.sells):
        return []
    low = -case.plan.credit_limit if nanos else -UNBOUNDED
    return [Draw(BALANCE, f"credits:{case.caller.account.id}", nanos, low, 0, 0, COST)]


def unbounded(draw: Draw) -> Draw:
    """The same draw for usage that has happened already: counted, never refused."""
    return draw._replace(low=-UNBOUNDED, high=UNBOUNDED)


def scope_of(draw: Draw) -> str:
    """Whom a draw counts, read from the name of its budget."""
    kind, scope = draw.name.split(":")[:2]
    return scope if kind in ("rate", "open", "held", "cap") else "account"


def holds_money(draw: Draw) -> bool:
    """Whether the draw bounds what open calls hold, and not how many they are."""
    return draw.name.startswith("held:")


def in_money(draw: Draw) -> bool:
    """Whether the amount is one of money."""
    return draw.follows == COST or holds_money(draw)


def _distinct(found: list[Draw]) -> list[Draw]:
    """One draw per budget: where policy and plan limit the same thing, the tighter bound holds."""
    by_name: dict[str, Draw] = {}
    for draw in found:
        known = by_name.get(draw.name, draw)
        by_name[draw.name] = known._replace(high=min(known.high, draw.high))
    return list(by_name.values())


def _slots(case: Case, limit: Concurrency) -> Draw | None:
    subject = case.subject(limit.scope)
    return Draw(SLOTS, f"open:{limit.scope}:{subject}", 1, 0, limit.calls) if subject else None


def _held(case: Case, limit: Concurrency, nanos: int) -> Draw | None:
    subject = case.subject(limit.scope)
    return Draw(SLOTS, f"held:{limit.scope}:{subject}", nanos, 0, limit.held) if subject else None


def _rate(case: Case, limit: Limit) -> Draw | None:
    subject = case.subject(limit.scope)
    if not subject:
        return None
    interval = max(1, INTERVALS_US[limit.per] // limit.rate)
    return Draw(RATE, f"rate:{limit.scope}:{subject}:{limit.name}", 1, interval, interval * limit.burst)


def _caps(case: Case) -> Iterable[Cap]:
    yield from case.policy.caps
    yield from case.plan.caps
    key = case.caller.key
    if key is not None and key.cap_nanos:
        yield Cap(key.cap_every, spend=key.cap_nanos, scope="key")


def _cap(case: Case, cap: Cap, units: int, nanos: int) -> Draw | None:
    subject = case.subject(cap.scope)
    if not subject:
        return None
    period = case.window(cap.every, cap.scope)
    name = f"cap:{cap.scope}:{subject}:{cap.name}:{period.id}"
    limit = UNBOUNDED if cap.soft else cap.units if cap.meter else cap.spend
    amount, follows = (units, UNITS) if cap.meter else (nanos, COST)
    return Draw(QUOTA, name, amount, 0, limit, period.end_us, follows)
