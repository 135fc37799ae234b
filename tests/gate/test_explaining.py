"""What `explain` says is what the next call hears."""

import pytest

from metergate.core.facts import AccountFacts, Caller
from metergate.core.policy import Cap, Concurrency, Included, Limit, Meter, Plan, Policy
from metergate.core.price import PerUnit, PriceRule, Rate
from metergate.gate.explaining import Step, explain, names
from metergate.ports import AskBudget, PutAccount
from metergate.testing.conformance import answered
from tests.gate.house import House, a_house, a_policy, a_route, at

POLICIES = {
    "": a_policy(),
    "insufficient_credits": a_policy(prices={"calls": at(1000)}),
    "quota_exceeded": a_policy(plan=Plan("p", included={"calls": Included(0)})),
    "rate_limited": a_policy(limits=(Limit(1, "day", 0),)),
    "too_many_open": a_policy(concurrency=(Concurrency(0),)),
    "too_many_open: held": a_policy(concurrency=(Concurrency(held=1),), prices={"calls": at(2)}),
    "cap_reached": a_policy(caps=(Cap("day", spend=0),)),
    "feature_not_in_plan": a_policy(a_route(feature="chat")),
    "no_price": a_policy(prices={}),
}


async def explained(
    house: House, method: str = "GET", path: bytes = b"/", *, anybody: bool = True
) -> list[Step]:
    policy, now_us = house.gate.policy, house.clock()
    caller = (await house.member()).caller if anybody else None
    asked = names(policy, house.route, caller, now_us) if caller else []
    told = await answered(house.store.state([AskBudget(name) for name in asked]))
    values = {name: value for name, value in zip(asked, told, strict=True) if isinstance(value, int)}
    return explain(policy, method, path, caller, values, now_us)


@pytest.mark.parametrize("reason", POLICIES)
async def test_the_verdict_is_that_of_the_gate(reason: str) -> None:
    house, reason = await a_house(POLICIES[reason]), reason.partition(":")[0]
    verdict = (await explained(house))[-1]
    assert (verdict["ok"], verdict.get("reason", "")) == (not reason, reason)
    assert await house.reason() == reason


async def test_of_a_suspended_account_nothing_more_is_asked() -> None:
    house = await a_house(a_policy())
    await house.tell(PutAccount(AccountFacts("acct", "p", suspended=True)))
    steps = await explained(house)
    assert [(step["rule"], step["ok"]) for step in steps] == [
        ("route 1", True),
        ("account", False),
        ("verdict", False),
    ]


async def test_every_budget_is_shown_with_what_is_taken_and_what_is_left() -> None:
    plan = Plan(
        "p", included={"calls": Included(5)}, on_exceed="overage", caps=(Cap("day", spend=0, soft=True),)
    )
    house = await a_house(a_policy(plan=plan, limits=(Limit(2, "day", 2),)))
    for _ in range(2):
        await house.reason()
    steps = {step["rule"]: step for step in await explained(house)}
    assert steps["price"]["units"] == 1
    assert (steps["rate"]["ok"], steps["rate"]["left"]) == (False, 0)
    assert steps["verdict"]["status"] == 429


async def test_what_has_no_end_is_shown_without_a_number() -> None:
    """A soft cap of money or of units, and the quantity beyond an allowance."""
    caps = (Cap("day", spend=0, soft=True), Cap("day", units=0, meter="calls", soft=True))
    plan = Plan("p", included={"calls": Included(0)}, on_exceed="overage", caps=caps)
    house = await a_house(a_policy(plan=plan, prices={"calls": at(10)}))
    left = {step["detail"].split(":")[0]: step["left"] for step in await explained(house) if "left" in step}
    assert left == {"used": "no limit", "cap": "no limit", "credits": "0.000000100"}


@pytest.mark.parametrize(
    ("method", "path", "rules"),
    [
        ("GET", b"/a", ["route 1", "account", "feature", "free", "verdict"]),
        ("GET", b"/b", ["route 1", "route 2", "public", "verdict"]),
        ("POST", b"/c", ["route 1", "route 2", "default", "verdict"]),
        ("GET", b"//a", ["path", "verdict"]),
    ],
)
async def test_the_rules_are_shown_in_the_order_in_which_they_are_asked(
    method: str, path: bytes, rules: list[str]
) -> None:
    routes = (a_route("GET /a", free=True, feature="chat"), a_route("GET /b", public=True, meter=""))
    policy: Policy = a_policy(*routes, plan=Plan("p", features=frozenset({"chat"})))
    assert [step["rule"] for step in await explained(await a_house(policy), method, path)] == rules


async def test_without_an_account_a_key_is_asked_for() -> None:
    *_, key, verdict = await explained(await a_house(a_policy()), anybody=False)
    assert "say with --account" in key["detail"]
    assert (verdict["reason"], verdict["status"]) == ("key_missing", 401)


def test_what_is_refused_before_budgets_asks_none() -> None:
    policy = a_policy(a_route(feature="chat"))
    caller = Caller(AccountFacts("acct", "p"), None, 1)
    assert names(policy, policy.routes[0], caller, 10**15) == []


TOKENS = a_policy(
    a_route("POST /chat", meter="words"),
    meters={"words": Meter("words", "llm")},
    prices={"words": (PriceRule((("model", "m"),), PerUnit(Rate(2, 1))),)},
)


@pytest.mark.parametrize(
    ("body", "step", "reason"),
    [
        (b'{"model": "m", "max_tokens": 10}', "0.000000052", "insufficient_credits"),
        (b'{"model": "x"}', "No price is known for the model x; choose another model.", "no_price"),
        (b'{"model": 7}', 'Name the model, such as "model": "gpt-4o".', "bad_request"),
        (b"", "the price hangs on what the request says; give its JSON with --body", "bad_request"),
    ],
)
async def test_a_price_that_hangs_on_the_request_wants_its_body(body: bytes, step: str, reason: str) -> None:
    house = await a_house(TOKENS, balance=5)
    caller = (await house.member()).caller
    policy, now_us = house.gate.policy, house.clock()
    assert bool(names(policy, house.route, caller, now_us, "/chat", body)) is (
        reason == "insufficient_credits"
    )
    steps = explain(policy, "POST", b"/chat", caller, {"credits:acct": 5}, now_us, body)
    told = [str(each.get("cost", each["detail"])) for each in steps]
    assert any(step in each for each in told), told
    assert steps[-1]["reason"] == reason
