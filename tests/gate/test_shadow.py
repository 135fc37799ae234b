"""Shadow mode decides and records, and never refuses."""

from dataclasses import replace

import pytest

from metergate.core.policy import Included, Limit, Plan, Policy
from metergate.gate.call import Call
from metergate.ports import PutBudget, PutKey
from tests.gate.house import a_house, a_policy, a_route, at, key_facts

both = pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])

REFUSING = {
    "insufficient_credits": a_policy(a_route(), prices={"calls": at(1000)}),
    "quota_exceeded": a_policy(a_route(), plan=Plan("p", included={"calls": Included(0)})),
    "rate_limited": a_policy(a_route(), limits=(Limit(1, "day", 0),)),
    "feature_not_in_plan": a_policy(a_route(feature="chat")),
    "no_price": a_policy(a_route(), prices={}),
}


def shadowed(policy: Policy) -> Policy:
    return replace(policy, shadow=True)


@both
@pytest.mark.parametrize("reason", REFUSING)
async def test_what_would_be_refused_goes_on_costs_nothing_and_says_why(reason: str, later: bool) -> None:
    house = await a_house(shadowed(REFUSING[reason]), later=later)
    heard = []
    house.gate.watch.watchers.append(lambda decision: heard.append((decision.reason, decision.shadow)))
    call = await house.call()
    assert call.shadow is not None and call.shadow.reason == reason
    call.settle()
    event = (await house.events())[0]
    assert (event.cost, event.measured) == (0, "shadow")
    assert await house.budget() == 100
    assert (reason, True) in heard


@both
async def test_what_would_be_let_in_is_charged_as_ever(later: bool) -> None:
    house = await a_house(shadowed(a_policy()), later=later)
    call = await house.call()
    assert call.shadow is None
    call.settle()
    assert (await house.events())[0].measured == "measured"
    assert await house.budget() == 99


@both
async def test_one_route_may_be_tried_in_shadow(later: bool) -> None:
    routes = (a_route("GET /new", shadow=True), a_route("GET /old"))
    house = await a_house(a_policy(*routes, prices={"calls": at(1000)}), later=later)
    new, old = house.gate.policy.routes
    assert await house.reason(route=new) == ""
    assert await house.reason(route=old) == "insufficient_credits"


@both
async def test_what_a_shadowed_call_measures_costs_nothing_either(later: bool) -> None:
    policy = a_policy(a_route(meter="rows", hold_units=1000))
    house = await a_house(shadowed(policy), later=later)
    call = await house.call()
    assert call.shadow is not None
    call.settle(700)
    event = (await house.events())[0]
    assert (event.units, event.cost) == (700, 0)
    assert await house.budget() == 100


@both
async def test_a_shadowed_call_is_let_in_wherever_the_period_stands(later: bool) -> None:
    """Also by a gate that has just started and knows nothing of the period yet."""
    plan = Plan("p", included={"calls": Included(5)}, on_exceed="overage", overage={"calls": at(7)})
    policy = a_policy(a_route(), plan=plan, limits=(Limit(1, "day", 0),))
    house = await a_house(shadowed(policy), later=later)
    name = (await house.call()).prepared.draws[0].name
    fresh = await a_house(shadowed(policy), later=later)
    await fresh.tell(PutBudget(name, 500, fresh.clock() + 10**13))
    assert isinstance(await fresh.admit(), Call)


@both
async def test_a_revoked_key_goes_on_too_and_is_named(later: bool) -> None:
    """Who tries the gate in front of a running service must not cut off anybody."""
    house = await a_house(shadowed(a_policy()), later=later)
    member = await house.member()
    await house.tell(PutKey(key_facts(revoked=True)))
    call = await house.admit(member)
    assert isinstance(call, Call)
    assert call.shadow is not None and call.shadow.reason == "key_revoked"
