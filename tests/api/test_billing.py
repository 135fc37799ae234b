"""The customer's side: whoever shows a key sees and reports what is its account's, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest

from metergate.api import models
from metergate.config import load
from metergate.core import keys
from metergate.core.periods import rfc3339
from tests.admin.bench import POLICY, Bench
from tests.admin.test_nonsense import BAD_DIMENSIONS, BAD_UNITS
from tests.api.client import Client, customer, problem

JsonObject = dict[str, Any]
READS = ("/usage", "/usage/req_1", "/credits", "/plans", "/subscription")


async def opened_account(bench: Bench, id: str = "ada", amount: str = "5") -> Client:
    await bench.do("accounts.create", id=id, plan="free")
    await bench.do("credits.grant", account=id, amount=amount)
    return customer(bench, (await bench.do("keys.create", account=id))["key"])


async def test_what_a_customer_sees(bench: Bench) -> None:
    """Balance, plan, plans and usage, in the forms that the contract names."""
    ask = await opened_account(bench)
    assert await bench.spend(ask.secret) == ""
    credits = await ask.ok("GET", "/billing/v1/credits")
    models.Credits.model_validate(credits, strict=True)
    assert (credits["account"], credits["balance"]["amount"]) == ("ada", "4.00")
    plans = await ask.ok("GET", "/billing/v1/plans")
    models.Plans.model_validate(plans, strict=True)
    assert [plan["id"] for plan in plans["data"]] == ["free", "growth"]
    own = await ask.ok("GET", "/billing/v1/subscription")
    models.OwnSubscription.model_validate(own, strict=True)
    assert (own["plan"], own["details"]["included"]["images"]["units"]) == ("free", 5)
    usage = await ask.ok("GET", "/billing/v1/usage")
    models.Page[models.Usage].model_validate(usage, strict=True)
    [row] = usage["data"]
    one = await ask.ok("GET", f"/billing/v1/usage/{row['request_id']}")
    assert one == {**row, "also": []}
    answer = await ask("GET", "/billing/v1/credits")
    assert (answer.header("metergate-request-id") or "").startswith("req_")


async def test_nobody_sees_what_is_anothers(bench: Bench) -> None:
    """The key decides; a parameter that names another account is an error."""
    ada, bob = await opened_account(bench, "ada"), await opened_account(bench, "bob")
    assert await bench.spend(bob.secret) == ""
    [row] = (await bob.ok("GET", "/billing/v1/usage"))["data"]
    assert (await ada.ok("GET", "/billing/v1/usage"))["data"] == []
    answer = await ada("GET", f"/billing/v1/usage/{row['request_id']}")
    assert (answer.status, problem(answer)["reason"]) == (404, "not_found")
    for path in (
        "/usage?account=bob",
        "/credits?account=bob",
        "/subscription?account=bob",
        "/usage?user=bob",
    ):
        answer = await ada("GET", "/billing/v1" + path)
        assert answer.status == 400
        problem(answer)
    tracked = {"account": "bob", "meter": "requests", "units": 1}
    answer = await ada("POST", "/billing/v1/usage", tracked)
    assert (answer.status, problem(answer)["errors"][0]["field"]) == (400, "account")
    assert bench.balance("bob") == 4 * 10**9


@pytest.mark.parametrize("path", READS)
async def test_every_path_wants_a_key(bench: Bench, path: str) -> None:
    """Missing, unknown, doubled, revoked, expired and foreign keys are refused as the gate refuses them."""
    ask = await opened_account(bench)
    gone = await bench.do("keys.create", account="ada")
    await bench.do("keys.revoke", kid=gone["kid"])
    short = await bench.do("keys.create", account="ada", expires_at="1s")
    foreign = await bench.do("keys.create", account="ada", environment="test")
    stranger = keys.mint("live", lambda n: bytes(range(n)))
    bench.clock.advance(seconds=1)
    cases: list[tuple[dict[str, str], int, str]] = [
        ({}, 401, "key_missing"),
        ({"authorization": f"Basic {ask.secret}"}, 401, "key_missing"),
        ({"authorization": f"Bearer {stranger}"}, 401, "key_invalid"),
        ({"authorization": "Bearer nonsense"}, 401, "key_invalid"),
        ({"x-api-key": "x" * 5000}, 401, "key_invalid"),
        ({"x-api-key": gone["key"]}, 401, "key_revoked"),
        ({"x-api-key": short["key"]}, 401, "key_expired"),
        ({"x-api-key": foreign["key"]}, 401, "key_environment"),
        ({"x-api-key": ask.secret, "api-key": gone["key"]}, 400, "two_keys"),
    ]
    nobody = customer(bench, "")
    for headers, status, reason in cases:
        answer = await nobody("GET", "/billing/v1" + path, headers=headers)
        assert (answer.status, problem(answer)["reason"]) == (status, reason)
        assert problem(answer)["request_id"] == answer.header("metergate-request-id")
    answer = await nobody("GET", "/billing/v1" + path, headers={"anthropic-version": "2023-06-01"})
    told = problem(answer)
    assert (told["type"], told["error"]["type"]) == ("error", "authentication_error")


async def test_a_key_in_the_query_is_no_key(bench: Bench) -> None:
    ask = await opened_account(bench)
    answer = await customer(bench, "")("GET", f"/billing/v1/credits?api_key={ask.secret}&key={ask.secret}")
    assert answer.status == 401


async def test_usage_is_tracked_once(bench: Bench) -> None:
    """A repetition with the same Idempotency-Key is answered and not charged; another body is a mistake."""
    ask = await opened_account(bench)
    body = {"meter": "requests", "units": "2", "dimensions": {"model": "m"}}
    headers = {"idempotency-key": "job-7"}
    first = await ask("POST", "/billing/v1/usage", body, headers=headers)
    models.Recorded.model_validate(first.json(), strict=True)
    again = await ask("POST", "/billing/v1/usage", body, headers=headers)
    assert (first.status, again.status, again.header("idempotency-replayed")) == (201, 200, "true")
    other = await ask("POST", "/billing/v1/usage", {**body, "units": 3}, headers=headers)
    assert (other.status, problem(other)["reason"]) == (422, "idempotency_mismatch")
    assert bench.balance("ada") == 3 * 10**9


@pytest.mark.parametrize(
    ("late", "back"), [({}, timedelta(days=35)), ({"late_reports": "1h"}, timedelta(hours=1))]
)
async def test_a_customer_reports_usage_before_it_is_forgotten(
    bench: Bench, late: dict[str, str], back: timedelta
) -> None:
    """The operator may report later: what happened long ago is a matter between the two."""
    bench.policy = load({**POLICY, **late})
    ask = await opened_account(bench)
    back_us = back // timedelta(microseconds=1)
    in_time, too_late = (
        {"meter": "requests", "units": 1, "at": rfc3339(bench.clock() - late_us)}
        for late_us in (back_us, back_us + 1)
    )
    assert (await ask("POST", "/billing/v1/usage", in_time)).status == 201
    assert (await ask("POST", "/billing/v1/usage", too_late)).status == 400
    await bench.do("usage.record", account="ada", **too_late)
    assert bench.balance("ada") == 3 * 10**9


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"meter": "requests"},
        {"units": 1},
        {"meter": "requests", "units": 1, "cost": "0.00"},
        {"meter": "requests", "units": 1, "service": "x"},
        {"meter": "requests", "units": 1, "key": "x"},
        {"meter": "requests", "units": 1, "account": "ada"},
        {"meter": "none", "units": 1},
        {"meter": "requests", "units": 1, "at": "2030-01-01T00:00:00Z"},
        {"meter": "requests", "units": 1, "at": "yesterday"},
        [],
        [{"meter": "requests", "units": 1}],
        *({"meter": "requests", "units": bad} for bad in BAD_UNITS),
        *({"meter": "requests", "units": 1, "dimensions": bad} for bad in BAD_DIMENSIONS),
    ],
    ids=str,
)
async def test_nonsense_is_refused_and_changes_nothing(bench: Bench, body: object) -> None:
    ask = await opened_account(bench)
    before = await bench.snapshot()
    answer = await ask("POST", "/billing/v1/usage", body)
    assert answer.status == 400, answer.body
    problem(answer)
    assert await bench.snapshot() == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/billing/v1/nowhere", 404),
        ("GET", "/billing/v1/", 404),
        ("DELETE", "/billing/v1/usage", 405),
        ("POST", "/billing/v1/credits", 405),
        ("GET", "/billing/v1/usage?limit=0", 400),
        ("GET", "/billing/v1/usage?limit=1001", 400),
        ("GET", "/billing/v1/usage?after=x", 400),
        ("GET", "/billing/v1/usage?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z", 400),
    ],
)
async def test_what_cannot_be_asked_is_a_problem(bench: Bench, method: str, path: str, status: int) -> None:
    ask = await opened_account(bench)
    answer = await ask(method, path)
    assert answer.status == status
    problem(answer)


async def test_a_body_has_bounds(bench: Bench) -> None:
    ask = await opened_account(bench)
    row = b'{"meter": "requests", "units": 1, "dimensions": {"k": "' + b"x" * 1_100_000 + b'"}}'
    assert (await ask("POST", "/billing/v1/usage", raw=row)).status == 413
    plain = await ask("POST", "/billing/v1/usage", raw=b"{}", headers={"content-type": "text/plain"})
    assert plain.status == 415
    assert bench.balance("ada") == 5 * 10**9


async def test_usage_is_read_page_by_page(bench: Bench) -> None:
    ask = await opened_account(bench)
    for _ in range(3):
        assert await bench.spend(ask.secret) == ""
    first = await ask.ok("GET", "/billing/v1/usage?limit=2")
    rest = await ask.ok("GET", f"/billing/v1/usage?limit=2&after={first['after']}")
    assert (len(first["data"]), first["has_more"], len(rest["data"]), rest["has_more"]) == (2, True, 1, False)


async def test_a_customer_out_of_credits_still_sees_its_account(bench: Bench) -> None:
    ask = await opened_account(bench, amount="1")
    assert [await bench.spend(ask.secret) for _ in range(2)] == ["", "insufficient_credits"]
    assert (await ask.ok("GET", "/billing/v1/credits"))["balance"]["amount"] == "0.00"


async def test_tracked_usage_has_to_fit(bench: Bench) -> None:
    """Where credits run out the answer is the gate's own 402, and nothing was counted."""
    ask = await opened_account(bench, amount="1")
    before = await bench.snapshot()
    answer = await ask("POST", "/billing/v1/usage", {"meter": "requests", "units": 2})
    told = problem(answer)
    assert (answer.status, told["reason"]) == (402, "insufficient_credits")
    assert (told["required"]["amount"], told["available"]["amount"]) == ("2.00", "1.00")
    assert told["top_up_url"] == "/billing/v1/plans"
    assert (answer.header("link"), answer.header("x-should-retry")) == (
        '</billing/v1/plans>; rel="payment"',
        "false",
    )
    assert await bench.snapshot() == before
