"""Decisions: who may call, what is set aside, and why not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core import decide
from metergate.core.budget import BALANCE, UNBOUNDED, take
from metergate.core.decide import Offer
from metergate.core.facts import Caller, KeyFacts
from metergate.core.keys import mint
from metergate.core.limits import Standing
from metergate.core.policy import Cap, Concurrency, Included, Limit, Plan, Policy
from metergate.core.price import Graduated, PriceRule, Rate, Tier, cost
from metergate.core.refusal import REASONS, Refusal, worth_retrying
from tests.core.world import DAY, KEY, NOW, a_caller, a_policy, a_route, at, buy, misfit, offered


def _random(length: int) -> bytes:
    return bytes(range(length))


USD = 10**9
GENUINE = {"live": mint("live", _random), "test": mint("test", _random)}


def reason(found: object) -> str:
    return found.reason if isinstance(found, Refusal) else ""


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([], "key_missing"),
        (["live"], ""),
        (["live", "live"], ""),
        (["live", "test"], "two_keys"),
        (["live", "nonsense"], "two_keys"),
        (["nonsense", "nonsense"], "key_invalid"),
        ([""], "key_invalid"),
        (["live "], "key_invalid"),
        (["x" * 100_000], "key_invalid"),
        (["test"], "key_environment"),
    ],
)
def test_a_request_shows_one_key(shown: list[str], expected: str) -> None:
    found = decide.presented([GENUINE.get(each, each) for each in shown], "live")
    assert reason(found) == expected
    assert isinstance(found, Refusal) or found.text == GENUINE["live"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KEY, ""),
        (KEY._replace(expires_at_us=NOW + 1), ""),
        (KEY._replace(expires_at_us=NOW), "key_expired"),
        (KEY._replace(expires_at_us=NOW - 1), "key_expired"),
        (KEY._replace(revoked=True), "key_revoked"),
        (KEY._replace(revoked=True, expires_at_us=NOW - 1), "key_revoked"),
    ],
)
def test_a_key_is_good_until_it_is_revoked_or_expires(key: KeyFacts, expected: str) -> None:
    assert reason(decide.key_state(key, NOW)) == expected


WRITES = KEY._replace(scopes=("write",))


@pytest.mark.parametrize(
    ("caller", "wanted", "expected"),
    [
        (a_caller("p"), {}, ""),
        (a_caller("p"), {"feature": "chat"}, ""),
        (a_caller("p"), {"feature": "images"}, "feature_not_in_plan"),
        (a_caller("gone"), {"feature": "chat"}, "feature_not_in_plan"),
        (a_caller(""), {"feature": "chat"}, "feature_not_in_plan"),
        (a_caller("p"), {"scope": "read"}, ""),
        (a_caller("p", None), {"scope": "read"}, ""),
        (a_caller("p", KEY._replace(scopes=("read", "write"))), {"scope": "read"}, ""),
        (a_caller("p", WRITES), {"scope": "read"}, "scope_missing"),
        (a_caller("p", WRITES), {}, "scope_missing"),
        (a_caller("p", suspended=True), {}, "account_suspended"),
        (a_caller("p", WRITES, suspended=True), {"scope": "read", "feature": "images"}, "account_suspended"),
        (a_caller("p", WRITES), {"scope": "read", "feature": "images"}, "scope_missing"),
    ],
)
def test_who_may_use_a_route_at_all(caller: Caller, wanted: dict[str, object], expected: str) -> None:
    policy = a_policy(Plan("p", features=frozenset({"chat"})))
    route = a_route(**wanted)
    assert reason(decide.entitled(policy, caller, route)) == expected
    assert reason(decide.offer(policy, caller, route, {}, NOW)) == expected


@pytest.mark.parametrize("options", [{"strict": False}, {"extra": True}], ids=["recorded", "inside a call"])
def test_what_was_let_in_already_asks_for_no_entitlement(options: dict[str, object]) -> None:
    policy = a_policy(Plan("p"), limits=(Limit(1, "day", 1),), concurrency=(Concurrency(0),))
    route = a_route(feature="images", scope="read")
    found = offered(policy, a_caller("p", WRITES, suspended=True), route, **options)
    assert [draw.kind for draw in found.terms.draws] == [BALANCE]


def test_an_account_on_no_plan_falls_to_the_default_plan() -> None:
    policy = a_policy(Plan("p", features=frozenset({"chat"})), default_plan="p")
    assert reason(decide.entitled(policy, a_caller(""), a_route(feature="chat"))) == ""
    assert offered(policy, a_caller("")).terms.plan == "p"


def test_what_has_no_price_is_refused_and_never_free() -> None:
    policy = a_policy(Plan("p"))
    found = decide.offer(policy, a_caller("p"), a_route(meter="images"), {}, NOW)
    assert found == Refusal("no_price", scope="plan", meter="images")
    assert offered(policy, a_caller("p"), a_route(meter="images"), cost=70).cost == 70


EVERYTHING = Plan(
    "p",
    included={"calls": Included(0, "day")},
    on_exceed="overage",
    overage={"calls": at(10)},
    limits=(Limit(1, "day", 1),),
    caps=(Cap("day", units=1, meter="calls"), Cap("day", spend=10)),
    concurrency=(Concurrency(1),),
)
"""One budget of each kind: open calls, rate, tally, cap on units, cap on money, balance."""


def test_of_all_budgets_that_refuse_the_caller_hears_of_the_first_in_precedence() -> None:
    """Everything is used up; then one after the other gets room again."""
    found = offered(a_policy(EVERYTHING), used={})
    draws = found.terms.draws
    full = {draw.name: 1 for draw in draws}
    full[draws[1].name] = NOW + DAY
    full[draws[-1].name] = 0
    heard = []
    while (denied := misfit(draws, full)) is not None:
        heard.append(decide.refused(found, *denied, NOW).reason)
        full[draws[denied[0]].name] = 10**6 if draws[denied[0]].kind == BALANCE else 0
    reasons = ["too_many_open", "rate_limited", "quota_exceeded", "cap_reached", "insufficient_credits"]
    assert list(dict.fromkeys(heard)) == reasons
    assert reasons == [each for each in REASONS if each in reasons]


LATE = NOW + DAY + 5
OPEN = Standing("open-calls", 1, 0, 0, 1)
RATE = Standing("1-per-day", 1, 86_400, 0, 86_401)
QUOTA = Standing("calls-day", 1, 86_400, 0, 86_400)


@pytest.mark.parametrize(
    ("position", "value", "refusal"),
    [
        (0, 1, Refusal("too_many_open", "", "account", "calls", 1, 0, 0, 10**6, OPEN)),
        (1, LATE, Refusal("rate_limited", "", "account", "calls", 1, 0, LATE, DAY + 5, RATE)),
        (3, 1, Refusal("quota_exceeded", "", "account", "calls", 1, 0, NOW + DAY, DAY, QUOTA)),
        (4, 8, Refusal("cap_reached", "", "account", "calls", 10, 2, NOW + DAY)),
        (5, -1, Refusal("insufficient_credits", "", "account", "calls", 10, 4)),
    ],
    ids=lambda value: value.reason if isinstance(value, Refusal) else "",
)
def test_a_refusal_says_what_is_wanted_what_is_there_and_when_it_resets(
    position: int, value: int, refusal: Refusal
) -> None:
    found = offered(a_policy(replace(EVERYTHING, credit_limit=5)), used={})
    assert decide.refused(found, position, value, NOW) == refusal


def held_up(concurrency: Concurrency, value: int) -> Refusal:
    found = offered(a_policy(Plan("p", concurrency=(concurrency,)), prices={"calls": at(USD // 2)}))
    assert found.terms.draws[0].name == "held:account:acct"
    return decide.refused(found, 0, value, NOW)


def test_whose_open_calls_hold_too_much_hears_what_is_held_of_how_much() -> None:
    found = held_up(Concurrency(held=20 * USD), 19_800_000_000)
    assert found.sentence == (
        "Open calls of this account hold 19.80 of at most 20.00 USD;"
        " wait until one has ended before you start another."
    )
    assert (found.reason, found.required, found.available) == ("too_many_open", USD // 2, USD // 5)
    assert (found.retry_after_us, found.in_money, worth_retrying(found)) == (10**6, True, True)


def test_a_call_that_alone_would_hold_too_much_is_not_tried_again() -> None:
    found = held_up(Concurrency(held=USD // 5), 0)
    assert found.sentence == (
        "This call alone would hold 0.50 USD, and open calls may hold 0.20 USD; ask for less in one call."
    )
    assert (found.reason, found.retry_after_us, worth_retrying(found)) == ("too_many_open", 0, False)


@pytest.mark.parametrize(
    ("on_exceed", "used", "units", "expected"),
    [
        ("block", 0, 1, (0, "p", "")),
        ("block", 0, 10, (0, "p", "")),
        ("block", 5, 6, "quota_exceeded"),
        ("block", 10, 1, "quota_exceeded"),
        ("overage", 9, 1, (0, "p", "")),
        ("overage", 8, 5, (30, "p", "")),
        ("overage", 10, 5, (50, "p", "")),
        ("overage", 500, 1, (10, "p", "")),
        ("overage", 10, 11, "insufficient_credits"),
        ("upgrade", 9, 1, (0, "p", "")),
        ("upgrade", 10, 1, (0, "big", "p")),
        ("upgrade", 9, 2, (0, "big", "p")),
        ("upgrade", 99, 1, (0, "big", "p")),
        ("upgrade", 100, 1, "quota_exceeded"),
    ],
)
def test_beyond_the_allowance_a_plan_blocks_sells_or_grows(
    on_exceed: str, used: int, units: int, expected: tuple[int, str, str] | str
) -> None:
    plan = Plan("p", included={"calls": Included(10)}, overage={"calls": at(10)})
    plan = replace(plan, on_exceed=on_exceed)  # type: ignore[arg-type]  # a parameter of this test
    policy = a_policy(plan, Plan("big", included={"calls": Included(100)}))
    name = offered(policy).terms.draws[0].name
    budgets = {name: used, "credits:acct": 100}
    found = buy(policy, a_caller("p"), a_route(), budgets, units=units)
    if isinstance(found, Refusal):
        assert found.reason == expected
        assert budgets == {name: used, "credits:acct": 100}
    else:
        assert (found.cost, found.terms.plan, found.terms.upgraded_from) == expected
        assert budgets == {name: used + units, "credits:acct": 100 - found.cost}


def test_an_allowance_that_became_free_again_costs_nothing() -> None:
    """What was thought to be beyond the allowance of a blocked plan is inside of it once it is let in."""
    policy = a_policy(Plan("p", included={"calls": Included(10)}))
    name = offered(policy).terms.draws[0].name
    stale = offered(policy, used={name: 10})
    assert misfit(stale.terms.draws, {name: 9}) is None
    assert stale.cost == 0


def test_a_postpaid_plan_lets_the_balance_go_below_zero_to_its_limit() -> None:
    policy = a_policy(Plan("p", credit_limit=25), Plan("prepaid"), prices={"calls": at(10)})
    budgets = {"credits:acct": 5}
    bought = [reason(buy(policy, a_caller("p"), a_route(), budgets)) for _ in range(4)]
    assert bought == ["", "", "", "insufficient_credits"]
    assert budgets["credits:acct"] == -25
    assert reason(buy(policy, a_caller("prepaid"), a_route(), budgets)) == "insufficient_credits"


@pytest.mark.parametrize(
    ("caps", "key_cap", "expected"),
    [
        ((Cap("day", spend=25),), 0, ["", "", "cap_reached"]),
        ((Cap("day", spend=25, soft=True),), 0, [""] * 10),
        ((Cap("day", units=2, meter="calls"),), 0, ["", "", "quota_exceeded"]),
        ((Cap("day", units=2, meter="rows"),), 0, [""] * 10),
        ((), 35, ["", "", "", "cap_reached"]),
        ((Cap("day", spend=25),), 15, ["", "cap_reached"]),
        ((Cap("day", spend=25, scope="plan"),), 0, ["", "", "cap_reached"]),
        ((Cap("day", spend=25), Cap("day", units=2, meter="calls")), 0, ["", "", "quota_exceeded"]),
    ],
)
def test_caps_stop_spending_or_units_until_their_window_ends(
    caps: tuple[Cap, ...], key_cap: int, expected: list[str]
) -> None:
    policy = a_policy(Plan("p", caps=caps), prices={"calls": at(10)})
    caller = a_caller("p", KEY._replace(cap_nanos=key_cap, cap_every="day"))
    budgets = {"credits:acct": 100}
    assert [reason(buy(policy, caller, a_route(), budgets)) for _ in expected] == expected
    if expected[-1]:
        assert reason(buy(policy, caller, a_route(), budgets, now_us=NOW + DAY)) == ""


def test_two_keys_of_one_account_share_its_balance_but_not_the_cap_of_a_key() -> None:
    policy = a_policy(Plan("p"), prices={"calls": at(10)})
    budgets = {"credits:acct": 35}
    first = a_caller("p", KEY._replace(cap_nanos=10, cap_every="day"))
    second = a_caller("p", KEY._replace(kid="kid0000002"))
    callers = (first, first, second, second, second)
    heard = [reason(buy(policy, caller, a_route(), budgets)) for caller in callers]
    assert heard == ["", "cap_reached", "", "", "insufficient_credits"]
    assert budgets["credits:acct"] == 5


def test_an_offer_is_good_until_its_first_window_ends_or_its_key_expires() -> None:
    policy = a_policy(Plan("p", caps=(Cap("month", spend=5), Cap("day", spend=5))))
    assert offered(policy).valid_until_us == NOW + DAY
    expiring = a_caller("p", KEY._replace(expires_at_us=NOW + 7))
    assert offered(policy, expiring).valid_until_us == NOW + 7
    assert offered(a_policy(Plan("p"))).valid_until_us == UNBOUNDED


@pytest.mark.parametrize(
    ("meter", "on_unknown", "expected"),
    [
        ("calls", "minimum", (3, 30)),
        ("calls", "hold", (3, 30)),
        ("calls", "release", (0, 0)),
        ("rows", "minimum", (0, 4)),
        ("rows", "hold", (3, 30)),
        ("rows", "release", (0, 0)),
    ],
)
def test_the_terms_say_what_a_call_costs_whose_end_nobody_saw(
    meter: str, on_unknown: str, expected: tuple[int, int]
) -> None:
    policy = a_policy(Plan("p"), prices={meter: (replace(at(10)[0], minimum_nanos=4),)})
    terms = offered(policy, route=a_route(meter=meter, hold_units=3, on_unknown_outcome=on_unknown)).terms
    assert (terms.unknown_units, terms.unknown_cost) == expected


def test_the_terms_name_everything_that_was_fixed() -> None:
    policy = a_policy(Plan("p"), service="api", currency="EUR")
    terms = offered(policy, route=a_route(match="GET /x")).terms
    assert (terms.account, terms.key, terms.plan, terms.policy) == ("acct", "kid0000001", "p", "v1")
    assert (terms.service, terms.route, terms.meter, terms.currency) == ("api", "GET /x", "calls", "EUR")
    assert offered(policy, a_caller("p", None)).terms.key == ""


def test_a_route_may_name_the_money_to_hold() -> None:
    found = offered(a_policy(Plan("p")), route=a_route(hold_nanos=900))
    assert (found.units, found.cost) == (1, 900)
    assert decide.settled(found, 1, 0) == (1, (1,))


@pytest.mark.parametrize("on_exceed", ["block", "overage", "upgrade"])
@pytest.mark.parametrize(("used", "units", "cost"), [(0, 3, 0), (8, 5, 30), (10, 5, 50), (700, 1, 10)])
def test_usage_that_has_happened_is_counted_whatever_is_left(
    on_exceed: str, used: int, units: int, cost: int
) -> None:
    """At the price of where it falls; a plan that blocks cannot undo what was used."""
    plan = Plan("p", included={"calls": Included(10)}, caps=(Cap("day", spend=0),))
    plan = replace(plan, on_exceed=on_exceed)  # type: ignore[arg-type]  # a parameter of this test
    policy = a_policy(plan, prices={"calls": at(10)}, limits=(Limit(1, "day", 1),))
    name = offered(policy, strict=False).terms.draws[0].name
    found = offered(policy, strict=False, units=units, used={name: used})
    assert found.cost == cost
    assert misfit(found.terms.draws, {name: used, "credits:acct": -(10**9)}) is None


@pytest.mark.parametrize("used", [0, 8, 5000])
def test_usage_of_a_known_cost_is_counted_wherever_the_period_stands(used: int) -> None:
    policy = a_policy(Plan("p", included={"calls": Included(10)}))
    found = offered(policy, strict=False, units=5, cost=70)
    assert misfit(found.terms.draws, {found.terms.draws[found.tally].name: used}) is None
    assert (found.cost, found.units) == (70, 5)


TIERS = PriceRule(
    (), Graduated((Tier(7, Rate(4, 1)), Tier(20, Rate(5, 2), flat_nanos=3), Tier(None, Rate(1, 1))))
)


@given(st.lists(st.integers(1, 9), max_size=25), st.integers(0, 15), st.sampled_from((TIERS, at(10)[0])))
def test_calls_together_cost_what_their_total_costs(
    amounts: list[int], allowance: int, rule: PriceRule
) -> None:
    """However the period is cut into calls: the allowance first, then tier after tier."""
    included = {"calls": Included(allowance)} if allowance else {}
    policy = a_policy(Plan("p", included=included, on_exceed="overage"), prices={"calls": (rule,)})
    budgets = {"credits:acct": 10**9}
    offers = [buy(policy, a_caller("p"), a_route(), budgets, units=units) for units in amounts]
    charged = sum(found.cost for found in offers if isinstance(found, Offer))
    assert all(isinstance(found, Offer) for found in offers)
    # Each call is rounded to the nano on its own, half up.
    assert 0 <= charged - cost(rule, max(0, sum(amounts) - allowance)) <= len(amounts) / 2
    assert budgets["credits:acct"] == 10**9 - charged


class Contender:
    """A caller that decides from what it last knew, and is let in or not a while later."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.used: dict[str, int] = {}
        self.offer: Offer | None = None

    def step(self, budgets: dict[str, int], units: int) -> Offer | None:
        """Make an offer, or try the one that was made; the offer when it was let in."""
        found, self.offer = self.offer, None
        if found is None:
            self.offer = offered(self.policy, used=self.used, units=units)
            return None
        denied = misfit(found.terms.draws, budgets)
        if denied is None:
            for draw in found.terms.draws:
                budgets[draw.name] = take(draw, budgets.get(draw.name, 0), NOW) or 0
            return found
        if denied[0] == found.tally:
            self.used[found.terms.draws[found.tally].name] = denied[1]
        return None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=80), st.integers(0, 120))
def test_no_interleaving_overspends_or_misprices(steps: list[tuple[int, int]], credit: int) -> None:
    """Four callers decide from old numbers at the same time; let in is only what is still true."""
    plan = Plan("p", included={"calls": Included(5)}, on_exceed="overage", overage={"calls": (TIERS,)})
    contenders = [Contender(a_policy(plan)) for _ in range(4)]
    budgets = {"credits:acct": credit}
    tried = [contenders[who].step(budgets, units) for who, units in steps]
    admitted = [offer for offer in tried if offer is not None]
    spent = sum(offer.cost for offer in admitted)
    assert budgets["credits:acct"] == credit - spent >= 0
    whole = cost(TIERS, max(0, sum(offer.units for offer in admitted) - 5))
    assert 0 <= spent - whole <= len(admitted) / 2
