"""The tiers: free to 1,000 requests a month, growth to 100,000 for EUR 9, scale to 1,000,000 for EUR 79."""

import pytest

from metergate import config
from metergate.config import locate
from metergate.core import decide, match
from metergate.core.budget import QUOTA, take
from metergate.core.facts import AccountFacts, Caller
from metergate.core.policy import Included, PlanPrice
from metergate.core.refusal import Refusal

POLICY = config.load(locate.template("tiers"), {})
FIND = match.compile(POLICY.routes)
NOON_US = 1_800_000_000_000_000
WINDOW = "used:acct:requests:2027-01"


def offered(plan: str, used: int, path: str = "/v1/x") -> decide.Offer | Refusal:
    """What an account on the plan is offered that has used so many requests this month."""
    route = FIND("GET", path)
    assert route is not None
    caller = Caller(AccountFacts("acct", plan), None, 1)
    return decide.offer(POLICY, caller, route, {WINDOW: used}, NOON_US)


@pytest.mark.parametrize(
    ("id", "name", "units", "euros", "on_exceed"),
    [
        ("free", "Free", 1_000, 0, "block"),
        ("growth", "Growth", 100_000, 9, "upgrade"),
        ("scale", "Scale", 1_000_000, 79, "block"),
    ],
)
def test_the_figures(id: str, name: str, units: int, euros: int, on_exceed: str) -> None:
    """Allowance a month, price a month, and what happens beyond."""
    plan = POLICY.plans[id]
    assert POLICY.currency == "EUR"
    assert (plan.name, plan.on_exceed) == (name, on_exceed)
    assert plan.included == {"requests": Included(units, "month")}
    assert plan.price == PlanPrice(euros * 10**9, "month")


def test_enterprise_is_by_agreement() -> None:
    """It has a contact and no price of its own, and every feature of the others."""
    plan = POLICY.plans["enterprise"]
    assert (plan.contact, plan.price, plan.included) == ("sales@example.com", None, {})
    assert all(other.features < plan.features for other in POLICY.plans.values() if other is not plan)


@pytest.mark.parametrize(
    ("plan", "used", "fits", "upgraded_from"),
    [
        ("free", 0, True, ""),
        ("free", 999, True, ""),
        ("free", 1_000, False, ""),
        ("growth", 99_999, True, ""),
        ("growth", 100_000, True, "growth"),
        ("scale", 999_999, True, ""),
        ("scale", 1_000_000, False, ""),
        ("", 1_000, False, ""),
    ],
)
def test_the_edges_of_a_tier(plan: str, used: int, fits: bool, upgraded_from: str) -> None:
    """The last request of a tier is in it; the one after is refused, or belongs to the next tier."""
    found = offered(plan, used)
    assert isinstance(found, decide.Offer)
    (quota,) = [draw for draw in found.terms.draws if draw.kind == QUOTA]
    assert quota.name == WINDOW
    assert (take(quota, used, NOON_US) is not None) is fits
    assert found.terms.upgraded_from == upgraded_from
    assert found.cost == 0


def test_enterprise_pays_from_its_credits() -> None:
    """The example price: EUR 0.00005 a request."""
    found = offered("enterprise", 5_000_000)
    assert isinstance(found, decide.Offer)
    assert found.cost == 50_000


@pytest.mark.parametrize(
    ("plan", "path", "reason"),
    [
        ("free", "/analytics/day", "feature_not_in_plan"),
        ("growth", "/analytics/day", ""),
        ("growth", "/reports/1", "feature_not_in_plan"),
        ("scale", "/reports/1", ""),
    ],
)
def test_features_per_tier(plan: str, path: str, reason: str) -> None:
    """What a tier does not have is 403, whatever is left of its allowance."""
    found = offered(plan, 0, path)
    assert (found.reason if isinstance(found, Refusal) else "") == reason
