"""A small world to decide in: one policy, one caller, and budgets in a dictionary."""

from collections.abc import Mapping
from dataclasses import replace

from metergate.core import decide
from metergate.core.budget import Draw, take
from metergate.core.decide import Offer
from metergate.core.facts import AccountFacts, Caller, KeyFacts
from metergate.core.policy import Meter, Plan, Policy, Route
from metergate.core.price import PerUnit, Price, PriceRule, Rate
from metergate.core.refusal import Refusal

NOW = 1_767_225_600_000_000
"""Midnight UTC of 1 January 2026."""
DAY = 86_400 * 10**6
KEY = KeyFacts("kid0000001", "acct", "00" * 32)
METERS = {
    name: Meter(name, count)
    for name, count in {"calls": "calls", "images": "app", "rows": "json", "tokens": "bytes"}.items()
}


def at(price: int | Price) -> tuple[PriceRule, ...]:
    """The price list of a meter: so many nanos a unit, or any price."""
    return (PriceRule((), PerUnit(Rate(price, 1)) if isinstance(price, int) else price),)


def a_route(**fields: object) -> Route:
    route = Route(0, "GET /", "GET", "/", meter="calls")
    return replace(route, **fields)  # type: ignore[arg-type]  # fields by their names


def a_policy(*plans: Plan, **fields: object) -> Policy:
    policy = Policy("v1", METERS, (), {"calls": at(1)}, {plan.id: plan for plan in plans})
    return replace(policy, **fields)  # type: ignore[arg-type]  # fields by their names


def a_caller(plan: str = "", key: KeyFacts | None = KEY, **account: object) -> Caller:
    facts = AccountFacts("acct", plan)._replace(**account)  # type: ignore[arg-type]  # fields by their names
    return Caller(facts, key, 1)


def offered(
    policy: Policy, caller: Caller | None = None, route: Route | None = None, **options: object
) -> Offer:
    """An offer that must not be a refusal."""
    used = options.pop("used", {})
    assert isinstance(used, Mapping)
    found = decide.offer(
        policy,
        caller or a_caller(next(iter(policy.plans), "")),
        route or a_route(),
        used,
        NOW,
        **options,  # type: ignore[arg-type]  # options by their names
    )
    assert isinstance(found, Offer)
    return found


def misfit(draws: tuple[Draw, ...], budgets: Mapping[str, int], now_us: int = NOW) -> tuple[int, int] | None:
    """Position and value of the first draw that does not fit."""
    for position, draw in enumerate(draws):
        value = budgets.get(draw.name, 0)
        if take(draw, value, now_us) is None:
            return position, value
    return None


def buy(
    policy: Policy,
    caller: Caller,
    route: Route,
    budgets: dict[str, int],
    *,
    units: int | None = None,
    now_us: int = NOW,
) -> Offer | Refusal:
    """What the gate does with a store: offer, take all or none, and decide again when the tally has moved."""
    used: dict[str, int] = {}
    last: Offer | None = None
    while True:
        found = decide.offer(policy, caller, route, used, now_us, units=units)
        if isinstance(found, Refusal):
            return found
        denied = misfit(found.terms.draws, budgets, now_us)
        if denied is None:
            for draw in found.terms.draws:
                budgets[draw.name] = take(draw, budgets.get(draw.name, 0), now_us) or 0
            return found
        position, value = denied
        if position != found.tally or found == last:
            return decide.refused(found, position, value, now_us)
        used[found.terms.draws[position].name] = value
        last = found
