"""The draws of a hold: names, bounds, and the order in which they refuse."""

import pytest

from metergate.core import draws
from metergate.core.budget import BALANCE, CALL, COST, QUOTA, RATE, SLOTS, UNBOUNDED, UNITS, Draw
from metergate.core.draws import INTERVALS_US, Case
from metergate.core.facts import KeyFacts
from metergate.core.periods import Every
from metergate.core.policy import Cap, Concurrency, Included, Limit, Plan, Policy
from metergate.core.price import Graduated, PriceRule, Rate, Tier
from metergate.core.tariff import Tariff
from tests.core.world import DAY, KEY, NOW, a_caller, a_policy, a_route, at, offered

SECOND = 10**6
MONTH = "m2026-01"
END_OF_JANUARY = NOW + 31 * DAY


def case(policy: Policy, key: KeyFacts | None = KEY, **account: object) -> Case:
    caller = a_caller(next(iter(policy.plans), ""), key, **account)
    return Case(policy, policy.plan(caller.account.plan), caller, a_route(), NOW)


def window_of(draw: Draw) -> str:
    return draw.name.split(":", 4)[-1]


def test_the_draws_come_in_the_order_in_which_they_refuse() -> None:
    """Open calls, rates, the tally, what open calls hold, caps on units, caps on money, the balance."""
    plan = Plan(
        "p",
        included={"calls": Included(0)},
        on_exceed="overage",
        limits=(Limit(60, "minute", 60),),
        caps=(Cap("month", spend=50), Cap("month", units=9, meter="calls")),
        concurrency=(Concurrency(4), Concurrency(held=70)),
    )
    policy = a_policy(plan, limits=(Limit(5, "second", 5, "key"),), caps=(Cap("day", spend=5, scope="plan"),))
    found = offered(policy, used={}).terms.draws
    heads = [draw.name.rsplit(":", 1)[0] if draw.kind == QUOTA else draw.name for draw in found]
    assert heads == [
        "open:account:acct",
        "rate:key:kid0000001:5-per-second",
        "rate:account:acct:60-per-minute",
        "used:acct:calls",
        "held:account:acct",
        "cap:account:acct:calls-month",
        "cap:plan:p:spend-day",
        "cap:account:acct:spend-month",
        "credits:acct",
    ]
    assert [draw.kind for draw in found] == [SLOTS, RATE, RATE, QUOTA, SLOTS, QUOTA, QUOTA, QUOTA, BALANCE]
    assert [draw.follows for draw in found] == [CALL, CALL, CALL, UNITS, CALL, UNITS, COST, COST, COST]
    assert len({draw.name for draw in found}) == len(found)


@pytest.mark.parametrize(
    ("rate", "per", "burst", "interval_us"),
    [
        (60, "minute", 60, SECOND),
        (60, "minute", 10, SECOND),
        (5, "second", 5, 200_000),
        (1000, "day", 50, 86_400_000),
        (1, "month", 1, 30 * DAY),
        (3, "second", 3, 333_333),
        (5_000_000, "second", 100, 1),
    ],
)
def test_a_rate_is_an_interval_and_a_burst(rate: int, per: Every, burst: int, interval_us: int) -> None:
    found = draws.gates(case(a_policy(limits=(Limit(rate, per, burst),))))
    name = f"rate:account:acct:{rate}-per-{per}"
    assert found == [Draw(RATE, name, 1, interval_us, interval_us * burst)]


def test_every_period_of_a_rate_has_a_length() -> None:
    assert list(INTERVALS_US.values()) == sorted(INTERVALS_US.values())


@pytest.mark.parametrize(("scope", "subject"), [("account", "acct"), ("key", "kid0000001"), ("plan", "p")])
def test_a_limit_counts_the_account_the_key_or_everybody_on_the_plan(scope: str, subject: str) -> None:
    limits = (Limit(1, "second", 1, scope),)  # type: ignore[arg-type]  # parametrized scopes
    open_calls = (Concurrency(1, scope), Concurrency(0, scope, 9))  # type: ignore[arg-type]  # the same
    caps = (Cap("day", spend=5, scope=scope),)  # type: ignore[arg-type]  # parametrized scopes
    here = case(a_policy(Plan("p", limits=limits, concurrency=open_calls, caps=caps)))
    found = (*draws.gates(here), *draws.held(here, 1), *draws.caps(here, 1, 1))
    names = [draw.name for draw in found]
    assert [name.split(":")[:3] for name in names] == [
        [kind, scope, subject] for kind in ("open", "rate", "held", "cap")
    ]
    assert [draws.scope_of(draw) for draw in found] == [scope] * 4


def test_a_limit_of_keys_spares_calls_without_one_and_of_plans_accounts_without_one() -> None:
    limits = (Limit(1, "second", 1, "key"), Limit(1, "second", 1, "plan"))
    open_calls = (Concurrency(1, "key"), Concurrency(1, "plan"), Concurrency(held=9, scope="key"))
    caps = (Cap("day", spend=5, scope="key"), Cap("day", spend=5, scope="plan"))
    here = case(a_policy(limits=limits, concurrency=open_calls, caps=caps), key=None)
    assert draws.gates(here) == []
    assert draws.held(here, 1) == []
    assert draws.caps(here, 1, 1) == []


def test_where_policy_and_plan_limit_the_same_the_tighter_bound_holds() -> None:
    plan = Plan(
        "p",
        limits=(Limit(60, "minute", 5),),
        concurrency=(Concurrency(9), Concurrency(held=70)),
        caps=(Cap("day", spend=5), Cap("month", spend=7, soft=True)),
    )
    policy = a_policy(
        plan,
        limits=(Limit(60, "minute", 60),),
        concurrency=(Concurrency(3), Concurrency(held=80)),
        caps=(Cap("day", spend=50, soft=True), Cap("month", spend=70)),
    )
    here = case(policy)
    assert [draw.high for draw in draws.gates(here)] == [3, 5 * SECOND]
    assert [draw.high for draw in draws.caps(here, 1, 1)] == [5, 70]
    assert [(draw.amount, draw.high) for draw in draws.held(here, 12)] == [(12, 70)]


def test_a_call_that_holds_nothing_is_not_asked_how_much_is_held() -> None:
    assert draws.held(case(a_policy(concurrency=(Concurrency(held=9),))), 0) == []


@pytest.mark.parametrize(
    ("cap", "amount", "high", "follows"),
    [
        (Cap("month", spend=500), 30, 500, COST),
        (Cap("month", units=9, meter="calls"), 2, 9, UNITS),
        (Cap("month", spend=500, soft=True), 30, UNBOUNDED, COST),
        (Cap("month", units=9, meter="calls", soft=True), 2, UNBOUNDED, UNITS),
        (Cap("month", spend=0), 30, 0, COST),
    ],
)
def test_a_cap_counts_money_or_units_and_a_soft_one_only_counts(
    cap: Cap, amount: int, high: int, follows: int
) -> None:
    found = draws.caps(case(a_policy(caps=(cap,))), 2, 30)
    assert [(draw.amount, draw.high, draw.follows, draw.until_us) for draw in found] == [
        (amount, high, follows, END_OF_JANUARY)
    ]


def test_a_cap_on_another_meter_is_not_asked() -> None:
    assert draws.caps(case(a_policy(caps=(Cap("month", units=9, meter="rows"),))), 1, 1) == []


def test_a_key_may_have_a_cap_of_its_own() -> None:
    here = case(a_policy(), KEY._replace(cap_nanos=700, cap_every="week"))
    found = draws.caps(here, 1, 30)
    assert [(draw.name.rsplit(":", 1)[0], draw.high) for draw in found] == [
        ("cap:key:kid0000001:spend-week", 700)
    ]
    both = case(
        a_policy(caps=(Cap("week", spend=500, scope="key"),)), KEY._replace(cap_nanos=700, cap_every="week")
    )
    assert [draw.high for draw in draws.caps(both, 1, 30)] == [500]


def test_windows_follow_the_calendar_or_the_subscription() -> None:
    since = NOW - 10 * DAY
    cap = Cap("month", spend=5)
    calendar = draws.caps(case(a_policy(Plan("p", caps=(cap,))), plan_since_us=since), 1, 1)[0]
    anchored = draws.caps(case(a_policy(Plan("p", caps=(cap,), anchored=True)), plan_since_us=since), 1, 1)[0]
    unknown = draws.caps(case(a_policy(Plan("p", caps=(cap,), anchored=True))), 1, 1)[0]
    assert calendar.until_us == unknown.until_us == END_OF_JANUARY
    assert anchored.until_us == since + 31 * DAY
    assert window_of(calendar) == window_of(unknown) != window_of(anchored)


def test_accounts_on_one_plan_share_its_cap_whenever_they_subscribed() -> None:
    policy = a_policy(Plan("p", caps=(Cap("month", spend=5, scope="plan"),), anchored=True))
    first = draws.caps(case(policy, plan_since_us=NOW - 3 * DAY), 1, 1)
    assert first == draws.caps(case(policy, plan_since_us=NOW - 9 * DAY, id="other"), 1, 1)


def test_a_window_lies_in_the_zone_of_the_policy() -> None:
    tokyo = draws.caps(case(a_policy(caps=(Cap("day", spend=5),), zone="Asia/Tokyo")), 1, 1)[0]
    assert tokyo.until_us == NOW + 15 * 3600 * SECOND


def test_the_period_is_tallied_only_where_the_price_depends_on_it() -> None:
    here = case(a_policy())
    steps = Graduated((Tier(50, Rate(4, 1)), Tier(None, Rate(1, 1))))
    assert draws.tally(here, Tariff(at(10)[0], None, False), 2, {}) is None
    graduated = draws.tally(here, Tariff(PriceRule((), steps), None, False), 2, {})
    assert graduated is not None
    assert (graduated.low, graduated.high, graduated.until_us) == (0, 50, END_OF_JANUARY)
    daily = draws.tally(here, Tariff(None, Included(9, "day"), True), 2, {})
    assert daily is not None
    assert (daily.amount, daily.high, daily.until_us, daily.follows) == (2, 9, NOW + DAY, UNITS)
    assert graduated.name.startswith("used:acct:calls:") and daily.name != graduated.name


@pytest.mark.parametrize(
    ("count", "nanos", "credit_limit", "expected"),
    [
        ("calls", 30, 0, Draw(BALANCE, "credits:acct", 30, 0, 0, 0, COST)),
        ("calls", 30, 900, Draw(BALANCE, "credits:acct", 30, -900, 0, 0, COST)),
        ("calls", 0, 0, None),
        ("rows", 30, 0, Draw(BALANCE, "credits:acct", 30, 0, 0, 0, COST)),
        ("rows", 0, 0, Draw(BALANCE, "credits:acct", 0, -UNBOUNDED, 0, 0, COST)),
    ],
)
def test_money_is_drawn_where_a_call_costs_or_may_come_to_cost(
    count: str, nanos: int, credit_limit: int, expected: Draw | None
) -> None:
    here = case(a_policy(Plan("p", credit_limit=credit_limit)))._replace(route=a_route(meter=count))
    assert draws.money(here, Tariff(at(10)[0], None, False), nanos) == ([expected] if expected else [])


def test_what_can_never_cost_anything_draws_no_money() -> None:
    here = case(a_policy())._replace(route=a_route(meter="rows"))
    assert draws.money(here, Tariff(None, Included(5), True), 0) == []
