"""From method and path to a rule, once, and to the rules that stand in no file."""

import pytest

from metergate.gate import routes
from metergate.gate.routes import Routes
from tests.gate.house import a_policy, a_route


def rules(default: str = "deny") -> Routes:
    return Routes(
        a_policy(a_route("GET /v1/{id}"), a_route("GET /free", free=True, meter=""), default=default)
    )


@pytest.mark.parametrize(
    ("method", "path", "default", "match", "reason"),
    [
        ("GET", b"/v1/7", "deny", "GET /v1/{id}", ""),
        ("HEAD", b"/v1/7", "deny", "GET /v1/{id}", ""),
        ("GET", b"/v1/a%20b", "deny", "GET /v1/{id}", ""),
        ("GET", b"/free", "deny", "GET /free", ""),
        ("GET", b"/other", "deny", "", "route_not_in_policy"),
        ("GET", b"/other", "free", "", ""),
        ("POST", b"/v1/7", "deny", "", "route_not_in_policy"),
        ("get", b"/v1/7", "free", "", "bad_request"),
        ("TRACE", b"/v1/7", "free", "", "bad_request"),
        ("GET", b"/v1/../free", "free", "", "bad_request"),
        ("GET", b"/v1%2F7", "free", "", "bad_request"),
    ],
)
def test_a_request_meets_a_rule_or_a_refusal(
    method: str, path: bytes, default: str, match: str, reason: str
) -> None:
    known = rules(default)
    found = known.find(method, path)
    assert (found.route.match if found.route else "") == match
    assert (found.refusal.reason if found.refusal else "") == reason
    assert (known.find(method, path) is found) is (found.route is not None)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "REMEMBERED", 10)
    known = rules()
    for n in range(35):
        assert known.find("GET", b"/v1/%d" % n).route is not None
        known.reported("rows", str(n), ())
    assert len(known._found) <= 10
    assert len(known.metered_calls) <= 10
    assert len(known._reported) <= 10


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", b"/other"), ("GET", b"/v1/../free"), ("FLOOD", b"/v1/7"), ("GET", b"/v1/" + b"a" * 60_000)],
)
def test_what_anybody_can_send_in_any_number_is_not_remembered(method: str, path: bytes) -> None:
    """Refusals, and paths that no app has."""
    known = rules()
    known.find(method, path)
    assert not known._found
    assert not known.metered_calls


def test_a_charge_and_a_report_have_rules_of_their_own() -> None:
    known = rules()
    route = known.find("GET", b"/v1/7").route
    assert route is not None
    charged = known.metered(route, "images")
    assert (charged.match, charged.meter, charged.hold_units) == ("GET /v1/{id}", "images", 1)
    assert known.metered(route, "images") is charged
    reported = known.reported("rows", "search", (("model", "m"),))
    assert (reported.meter, reported.service, reported.dimensions) == ("rows", "search", (("model", "m"),))
    assert known.reported("rows", "search", (("model", "m"),)) is reported
    others = [known.metered(route, "rows"), known.reported("rows", "", ()), known.reported("images", "", ())]
    indexes = {each.index for each in (route, charged, reported, *others)}
    assert len(indexes) == 6
