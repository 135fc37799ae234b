"""Why a request would be admitted or refused, rule by rule; with the same functions that decide."""

from collections.abc import Mapping
from typing import Any

from metergate import meters
from metergate.core import decide, draws, match
from metergate.core.asked import NOTHING, Asked
from metergate.core.budget import KINDS, UNBOUNDED, Draw, remaining, take
from metergate.core.decide import Offer
from metergate.core.facts import Caller
from metergate.core.money import plain
from metergate.core.policy import Policy, Route
from metergate.core.refusal import REASONS, Refusal
from metergate.meters import Unreadable

Step = dict[str, Any]

NO_BODY = "the price hangs on what the request says; give its JSON with --body"
NOBODY = "no account was given; say with --account (over HTTP: account) whose call it would be"


def explain(
    policy: Policy,
    method: str,
    raw_path: bytes,
    caller: Caller | None,
    values: Mapping[str, int],
    now_us: int,
    body: bytes = b"",
) -> list[Step]:
    """The steps of the decision in their order; the last one is the verdict."""
    steps: list[Step] = []
    path, problem = match.canonical(raw_path)
    if problem:
        return [_step("path", ok=False, detail=problem), _verdict("bad_request")]
    route = _rules(policy, method, path, steps)
    if route is None:
        denied = policy.default == "deny"
        steps.append(_step("default", ok=not denied, detail=policy.default))
        return [*steps, _verdict("route_not_in_policy" if denied else "")]
    if route.public:
        return [*steps, _step("public", ok=True, detail="the route wants no key"), _verdict("")]
    if caller is None:
        return [*steps, _step("key", ok=False, detail=NOBODY), _verdict("key_missing")]
    asked = _asked(policy, route, path, body)
    return steps + _for_caller(policy, route, caller, values, now_us, asked)


def _asked(policy: Policy, route: Route, path: str, body: bytes) -> Asked | Unreadable:
    """What the body of the request asks for, where the route's meter wants to know."""
    meter = policy.meters.get(route.meter)
    if meter is None or not meter.reads_request:
        return NOTHING
    try:
        return meters.read(meter, route, path, body).asked
    except Unreadable as error:
        return error if body else Unreadable(NO_BODY)


def _rules(policy: Policy, method: str, path: str, steps: list[Step]) -> Route | None:
    """Every rule that was tried, up to the one that matched."""
    for route in policy.routes:
        matched = match.compile([route])(method, path) is not None
        steps.append(_step(f"route {route.index + 1}", ok=matched, detail=route.match))
        if matched:
            return route
    return None


def _for_caller(
    policy: Policy,
    route: Route,
    caller: Caller,
    values: Mapping[str, int],
    now_us: int,
    asked: Asked | Unreadable,
) -> list[Step]:
    steps: list[Step] = []
    plan = policy.plan(caller.account.plan)
    steps.append(_step("account", ok=not caller.account.suspended, detail=caller.account.id, plan=plan.id))
    refusal = decide.entitled(policy, caller, route)
    if route.feature:
        has = route.feature in plan.features
        steps.append(_step("feature", ok=has, detail=route.feature))
    if refusal is not None:
        return [*steps, _verdict(refusal.reason)]
    if route.free or not route.meter:
        return [*steps, _step("free", ok=True, detail="the route costs nothing"), _verdict("")]
    if isinstance(asked, Unreadable):
        return [*steps, _step("body", ok=False, detail=str(asked)), _verdict("bad_request")]
    offered = decide.offer(policy, caller, route, values, now_us, asked=asked)
    if isinstance(offered, Refusal):
        detail = offered.detail or route.meter
        return [*steps, _step("price", ok=False, detail=detail), _verdict(offered.reason, offered.detail)]
    steps.append(
        _step(
            "price",
            ok=True,
            detail=route.meter,
            units=offered.units,
            cost=plain(offered.cost, policy.currency),
        )
    )
    return steps + _draws(offered, values, now_us)


def _draws(offered: Offer, values: Mapping[str, int], now_us: int) -> list[Step]:
    steps: list[Step] = []
    reason = ""
    for position, draw in enumerate(offered.terms.draws):
        value = values.get(draw.name, 0)
        fits = take(draw, value, now_us) is not None
        money = draws.in_money(draw)
        steps.append(
            _step(
                KINDS[draw.kind],
                ok=fits,
                detail=draw.name,
                amount=plain(draw.amount, offered.terms.currency) if money else draw.amount,
                left=_left(draw, value, now_us),
            )
        )
        if not fits and not reason:
            reason = decide.refused(offered, position, value, now_us).reason
    return [*steps, _verdict(reason)]


def _left(draw: Draw, value: int, now_us: int) -> int | str:
    """What is left, unless the budget has no end: soft caps, and quantities beyond their last tier."""
    if draw.low <= -UNBOUNDED or draw.high >= UNBOUNDED:
        return "no limit"
    left = remaining(draw, value, now_us)
    return plain(left) if draws.in_money(draw) else left


def names(
    policy: Policy, route: Route, caller: Caller, now_us: int, path: str = "", body: bytes = b""
) -> list[str]:
    """The budgets that a decision about the request would ask."""
    asked = _asked(policy, route, path, body)
    if isinstance(asked, Unreadable):
        return []
    offered = decide.offer(policy, caller, route, {}, now_us, asked=asked)
    return (
        []
        if isinstance(offered, Refusal)
        else [draw.name for draw in offered.terms.draws] + [f"credits:{caller.account.id}"]
    )


def _step(rule: str, *, ok: bool, detail: str, **more: object) -> Step:
    return {"rule": rule, "ok": ok, "detail": detail, **more}


def _verdict(reason: str, detail: str = "") -> Step:
    if not reason:
        return {"rule": "verdict", "ok": True, "detail": "admitted", "status": 200}
    known = REASONS[reason]
    detail = detail or known.help
    return {"rule": "verdict", "ok": False, "detail": detail, "reason": reason, "status": known.status}
