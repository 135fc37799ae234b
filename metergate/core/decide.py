"""Decisions: who may call what, and what is set aside for it. Pure: facts in, a verdict out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from metergate.core import draws, keys, limits
from metergate.core.asked import NOTHING, Asked
from metergate.core.budget import (
    BALANCE,
    COST,
    RATE,
    SLOTS,
    UNBOUNDED,
    Draw,
    actual_amounts,
    remaining,
    retry_after_us,
)
from metergate.core.draws import Case
from metergate.core.facts import Caller, KeyFacts
from metergate.core.hold import Terms
from metergate.core.kinds import Counts
from metergate.core.money import plain
from metergate.core.policy import Plan, Policy, Route
from metergate.core.refusal import Refusal
from metergate.core.sheet import MODEL
from metergate.core.table import SERVICES
from metergate.core.tariff import Tariff, larger_plan, tariff

DATED_US = 10 * 10**6
"""How long an offer stands whose prices come from a dated table: the next price may begin at any instant."""


OPEN_WAIT_US = 10**6
"""When to ask again where open calls are in the way: any of them may end at any moment."""


class Offer(NamedTuple):
    """What a caller may have on a route, and what must be set aside for it."""

    terms: Terms
    tariff: Tariff
    units: int
    cost: int
    tally: int
    """Which draw counts the period's quantity; -1 when the price does not depend on it."""
    valid_until_us: int


def presented(keys_shown: Sequence[str], environment: str) -> keys.Key | Refusal:
    """The one key of a request, before anything is looked up."""
    if not keys_shown:
        return Refusal("key_missing")
    if len(set(keys_shown)) > 1:
        return Refusal("two_keys")
    key = keys.parse(keys_shown[0])
    if key is None:
        return Refusal("key_invalid")
    if key.environment != environment:
        return Refusal("key_environment")
    return key


def key_state(key: KeyFacts, now_us: int) -> Refusal | None:
    """Whether a key that was proven to be genuine may still be used."""
    if key.revoked:
        return Refusal("key_revoked", scope="key")
    if key.expires_at_us and key.expires_at_us <= now_us:
        return Refusal("key_expired", scope="key")
    return None


def entitled(policy: Policy, caller: Caller, route: Route) -> Refusal | None:
    """Whether the account and the key may use the route at all, whatever it costs."""
    if caller.account.suspended:
        return Refusal("account_suspended", scope="account")
    key = caller.key
    if key is not None and key.scopes and route.scope not in key.scopes:
        return Refusal("scope_missing", scope="key")
    plan = policy.plan(caller.account.plan)
    if route.feature and route.feature not in plan.features:
        return Refusal("feature_not_in_plan", scope="plan")
    return None


def offer(
    policy: Policy,
    caller: Caller,
    route: Route,
    used: Mapping[str, int],
    now_us: int,
    *,
    units: int | None = None,
    cost: int | None = None,
    extra: bool = False,
    strict: bool = True,
    asked: Asked = NOTHING,
) -> Offer | Refusal:
    """What to set aside for a call of the caller on the route, and for what it asks.

    `used` is what is known of the quantities of the period; the store checks it. `extra` is a charge inside a
    call that was admitted already. Without `strict`, usage that has happened is counted whatever is left.
    """
    gated = strict and not extra
    refused = entitled(policy, caller, route) if gated else None
    if refused:
        return refused
    wanted = asked.units if units is None else units
    if wanted is None:
        wanted = route.hold_units
    case = Case(policy, policy.plan(caller.account.plan), caller, route, now_us, asked)
    plan, found = _admitted(case, wanted, used)
    if found is None:
        if cost is None:
            return _no_price(case)
        found = Tariff(None, None, False)
    if not strict:
        found = found._replace(blocks=False)
    counted = draws.tally(case, found, wanted, used)
    # Where nothing is sold beyond the allowance, what the store lets through lies inside of it.
    before = used.get(counted.name, 0) if counted and not found.blocks else 0
    if cost is None and found.unpriced(wanted, before, asked.counts):
        return _no_price(case)
    nanos = cost if cost is not None else route.hold_nanos or found.cost(wanted, before, asked.counts)
    if cost is None and strict and not case.fixed and not found.costs_nothing(wanted, before):
        nanos = max(1, nanos)  # what rounds to nothing at the hold may come to cost something
    front = draws.gates(case) if gated else []
    rest = [*draws.caps(case, wanted, nanos), *draws.money(case, found, nanos)]
    held = draws.held(case, nanos) if strict else []  # what has happened already is not held
    if counted and cost is not None and not strict:
        counted = draws.unbounded(counted)
    taken = [
        *front,
        *([counted] if counted else []),
        *held,
        *(rest if strict else map(draws.unbounded, rest)),
    ]
    terms = _terms(case, plan, tuple(taken), wanted, nanos, found.minimum)
    until = _valid_until(taken, caller.key)
    if found.sheet is not None and found.sheet.source:
        until = min(until, now_us + DATED_US)
    return Offer(terms, found, wanted, nanos, len(front) if counted else -1, until)


def _admitted(case: Case, units: int, used: Mapping[str, int]) -> tuple[Plan, Tariff | None]:
    """The plan whose tariff applies: the account's, or the larger one that its usage reaches."""
    policy, plan, _, route, now_us, _ = case
    found = tariff(policy, plan, route.meter, case.dimensions, route.multiplier, now_us)
    if found is None or found.included is None or plan.on_exceed != "upgrade":
        return plan, found
    name = draws.tally_name(case, draws.tally_window(case, found))
    reached = used.get(name, 0) + units
    larger = larger_plan(policy, plan, route.meter, reached) if reached > found.included.units else None
    if larger is None:
        return plan, found
    return larger, tariff(policy, larger, route.meter, case.dimensions, route.multiplier, now_us)


def _no_price(case: Case) -> Refusal:
    said = dict(case.dimensions)
    detail = ""
    if MODEL in said:
        services = "".join(f" with {name} {said[name]}" for name in SERVICES if name in said)
        other = "service" if services else "model"
        detail = f"No price is known for the model {said[MODEL]}{services}; choose another {other}."
    elif case.policy.meters[case.route.meter].of_kinds:
        detail = 'No price is known for a call without a model; name one, such as "model": "gpt-4o".'
    return Refusal("no_price", detail, scope="plan", meter=case.route.meter)


def _valid_until(taken: Sequence[Draw], key: KeyFacts | None) -> int:
    ends = [draw.until_us for draw in taken if draw.until_us]
    if key is not None and key.expires_at_us:
        ends.append(key.expires_at_us)
    return min(ends, default=UNBOUNDED)


def _terms(case: Case, plan: Plan, taken: tuple[Draw, ...], units: int, nanos: int, minimum: int) -> Terms:
    policy, own, caller, route, _, _ = case
    known = {
        "hold": (units, nanos),
        "release": (0, 0),
        "minimum": (units, nanos) if case.fixed else (0, minimum),
    }
    unknown_units, unknown_cost = known[route.on_unknown_outcome]
    return Terms(
        account=caller.account.id,
        key=caller.key.kid if caller.key else "",
        plan=plan.id,
        policy=policy.version,
        service=route.service or policy.service,
        route=route.match,
        meter=route.meter,
        currency=policy.currency,
        draws=taken,
        unknown_units=unknown_units,
        unknown_cost=unknown_cost,
        upgraded_from=own.id if plan is not own else "",
    )


def refused(offered: Offer, position: int, value: int, now_us: int) -> Refusal:
    """Why a draw that the store denied refuses the call."""
    draw = offered.terms.draws[position]
    left = remaining(draw, value, now_us)
    found = Refusal(
        _reason(draw),
        scope=draws.scope_of(draw),
        meter=offered.terms.meter,
        required=draw.amount,
        available=left,
    )
    if draws.holds_money(draw):
        return _holding_too_much(found, draw, value, offered.terms.currency)
    if found.status != 429:
        return found._replace(resets_at_us=draw.until_us)
    wait = _wait_us(draw, value, now_us)
    # Whoever was refused waits until one call fits, and not until the whole limit is there again.
    limit = limits.standing(draw, value, now_us)._replace(reset_s=limits.seconds(wait))
    resets_at_us = 0 if draw.kind == SLOTS else draw.until_us or now_us + wait
    return found._replace(resets_at_us=resets_at_us, retry_after_us=wait, limit=limit)


def _holding_too_much(found: Refusal, draw: Draw, value: int, currency: str) -> Refusal:
    most = f"{plain(draw.high, currency)} {currency}"
    if draw.amount > draw.high:
        wanted = f"{plain(draw.amount, currency)} {currency}"
        alone = (
            f"This call alone would hold {wanted}, and open calls may hold {most}; ask for less in one call."
        )
        return found._replace(detail=alone, in_money=True)
    holding = f"Open calls of this {found.scope} hold {plain(value, currency)} of at most {most}"
    detail = f"{holding}; wait until one has ended before you start another."
    return found._replace(detail=detail, retry_after_us=OPEN_WAIT_US, in_money=True)


def _wait_us(draw: Draw, value: int, now_us: int) -> int:
    """How long until the draw may fit."""
    if draw.kind == SLOTS:
        return OPEN_WAIT_US
    return max(1, retry_after_us(draw, value, now_us) if draw.kind == RATE else draw.until_us - now_us)


def _reason(draw: Draw) -> str:
    if draw.kind == BALANCE:
        return "insufficient_credits"
    if draw.kind == SLOTS:
        return "too_many_open"
    if draw.kind == RATE:
        return "rate_limited"
    return "cap_reached" if draw.follows == COST else "quota_exceeded"


def settled(offered: Offer, units: int, before: int, counts: Counts = ()) -> tuple[int, tuple[int, ...]]:
    """What a call came to: its cost, and the actual amount of every draw."""
    cost = offered.tariff.cost(units, before, counts)
    return cost, actual_amounts(offered.terms.draws, units, cost)
