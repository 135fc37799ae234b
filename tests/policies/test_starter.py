"""The starter policy: a price per request, a free health route, one plan."""

from pathlib import Path

import pytest

from metergate import config
from metergate.config import locate
from metergate.core import decide, match
from metergate.core.budget import BALANCE, take
from metergate.core.facts import AccountFacts, Caller

POLICY = config.load(locate.template("starter"), {})
FIND = match.compile(POLICY.routes)
NOON_US = 1_800_000_000_000_000
CALLER = Caller(AccountFacts("acct"), None, 1)


@pytest.mark.parametrize(
    ("method", "path", "public"),
    [
        ("GET", "/health", True),
        ("HEAD", "/health", True),
        ("POST", "/health", False),
        ("GET", "/anything", False),
    ],
)
def test_only_health_needs_no_key(method: str, path: str, public: bool) -> None:
    """Everything else has a price."""
    route = FIND(method, path)
    assert route is not None
    assert (route.public, route.meter) == (public, "" if public else "requests")


def test_a_request_costs_a_tenth_of_a_cent() -> None:
    """It is set aside from the balance; an account on no plan is on the default one."""
    route = FIND("GET", "/anything")
    assert route is not None
    offered = decide.offer(POLICY, CALLER, route, {}, NOON_US)
    assert isinstance(offered, decide.Offer)
    assert (offered.cost, offered.terms.plan) == (1_000_000, "standard")
    (balance,) = [draw for draw in offered.terms.draws if draw.kind == BALANCE]
    assert take(balance, 1_000_000, NOON_US) == 0
    assert take(balance, 999_999, NOON_US) is None


def test_a_copy_of_it_works_too(tmp_path: Path) -> None:
    """`metergate init` copies it to where the user wants it."""
    copy = tmp_path / "policy.yaml"
    copy.write_bytes(locate.template("starter").read_bytes())
    assert config.load(copy, {}) == POLICY
    assert "policies/" not in copy.read_text()
