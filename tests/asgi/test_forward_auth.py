"""Forward auth: a front asks about each request and passes it on itself."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from metergate.testing.asgi import Answer
from metergate.testing.clock import FakeClock
from tests.asking import AUTHZ, Front, fronted
from tests.shell import CENT, policy, problem

ROUTES = policy(
    meters={"requests": {"count": "calls"}, "rows": {"count": "json", "path": "$.rows"}},
    prices={"requests": {"price": "0.01"}, "rows": {"price": "0.01"}},
    plans={"basic": {"features": ["api"]}, "pro": {"features": ["api", "secret"]}},
    default_plan="basic",
    routes=[
        {"match": "GET /health", "public": True},
        {"match": "GET /models", "free": True, "feature": "api"},
        {"match": "GET /secret", "free": True, "feature": "secret"},
        {"match": "POST /query", "meter": "rows", "hold": {"units": 10}},
        {"match": "* /api/**", "meter": "requests"},
    ],
)


def nginx(method: str, target: str, **more: str) -> dict[str, str]:
    return {"x-original-method": method, "x-original-uri": target, **_named(more)}


def traefik(method: str, target: str, **more: str) -> dict[str, str]:
    return {"x-forwarded-method": method, "x-forwarded-uri": target, **_named(more)}


def _named(more: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in more.items()}


async def envoy(front: Front, method: str, target: str, **more: str) -> Answer:
    return await front.forward(_named(more), method, target)


async def test_each_front_names_the_request_in_its_own_way(tmp_path: Path) -> None:
    """Admitted is 200 without a body; each decision is a call, charged at once."""
    async with fronted(tmp_path, ROUTES) as (front, shell):
        for number in range(2):  # the second of each finds everything prepared
            answers = [
                await front.forward(nginx("PUT", "/api/a?b=c", x_api_key=front.key)),
                await front.forward(traefik("PUT", "/api/a?b=c", x_api_key=front.key), "POST"),
                await envoy(front, "PUT", "/api/a?b=c", x_api_key=front.key),
            ]
            for answer in answers:
                assert (answer.status, answer.body) == (200, b"")
                assert answer.header("metergate-cost") == "0.01"
                assert answer.header("metergate-account") == "acct"
                assert answer.header("metergate-plan") == "basic"
                assert answer.header("cache-control") == "no-store"
            assert await shell.settled() == (97 - 3 * number) * CENT
        answer = await envoy(front, "PUT", "/api/a", x_api_key=front.key)
        rows = await shell.rows()
        assert {(row["path"], row["route"], row["measured"]) for row in rows} == {
            ("/api/a", "* /api/**", "measured")
        }
        assert len(rows) == 7
        assert rows[-1]["request_id"] == answer.header("metergate-request-id")
        assert rows[-1]["key"] == answer.header("metergate-key")


async def test_the_key_stands_where_it_always_does(tmp_path: Path) -> None:
    """Authorization is the client's where the token has its own header, and the front's where it has not."""
    async with fronted(tmp_path, ROUTES) as (front, shell):
        bearer = {"authorization": f"Bearer {front.key}"}
        assert (await front.forward(nginx("GET", "/api/a", **bearer))).status == 200
        both = nginx("GET", "/api/a", x_api_key=shell.key, authorization="Bearer mg_other")
        problem(await front.forward(both), "two_keys")
        own = Front(front.app, "")
        own.token = "wrong"
        answer = await own.forward(nginx("GET", "/api/a", x_api_key=front.key))
        assert (answer.status, answer.json()["reason"]) == (401, "unauthorized")


async def test_a_refusal_can_be_passed_on_as_it_is(tmp_path: Path) -> None:
    async with fronted(tmp_path, ROUTES) as (front, shell):
        poor = await shell.customer("poor", credits="0.01")
        assert (await front.forward(traefik("GET", "/api/a", x_api_key=poor))).status == 200
        answer = await front.forward(traefik("GET", "/api/a", x_api_key=poor))
        told = problem(answer, "insufficient_credits")
        assert (answer.status, told["required"]["amount"]) == (402, "0.01")
        assert answer.header("link") == '</billing/v1/plans>; rel="payment"'
        anthropic = await front.forward(traefik("GET", "/api/a", x_api_key=poor, anthropic_version="1"))
        assert anthropic.json()["error"]["type"] == "billing_error"
        problem(await front.forward(traefik("GET", "/api/a")), "key_missing")
        problem(await front.forward(traefik("GET", "/nowhere", x_api_key=poor)), "route_not_in_policy")
        problem(await front.forward(traefik("GET", "/secret", x_api_key=poor)), "feature_not_in_plan")


async def test_a_front_that_knows_only_403_finds_the_refusal_in_headers(tmp_path: Path) -> None:
    """nginx makes an error of its own of every refusal but 401 and 403."""
    async with fronted(tmp_path, ROUTES) as (front, shell):
        poor = await shell.customer("poor", credits="")
        plain = await front.forward(nginx("GET", "/api/a", x_api_key=poor))
        answer = await front.forward(nginx("GET", "/api/a", x_api_key=poor), behind="?deny=403")
        assert (answer.status, answer.header("metergate-status")) == (403, "402")
        told = json.loads(answer.header("metergate-problem") or "")
        assert told == json.loads(answer.body)
        ids = {"request_id": ""}
        assert told | ids == plain.json() | ids
        assert answer.header("x-should-retry") == "false"
        missing = await front.forward(nginx("GET", "/api/a"), behind="?deny=403")
        said = missing.header("metergate-problem") or ""
        assert (missing.status, missing.header("metergate-status")) == (403, "401")
        assert said.isascii()
        assert "mg_…" in json.loads(said)["detail"]
        granted = await front.forward(nginx("GET", "/api/a", x_api_key=front.key), behind="?deny=403")
        assert (granted.status, granted.header("metergate-status")) == (200, None)
        left_there = await front.forward(nginx("GET", "/api/a?x"), behind="?x")
        assert left_there.status == 401


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-original-uri", "/api/a")],
        [("x-original-method", "GET")],
        [("x-original-uri", "/health"), ("x-original-uri", "/api/a"), ("x-original-method", "GET")],
        [*nginx("GET", "/api/a").items(), ("x-forwarded-uri", "/health")],
        [*nginx("POST", "/models").items(), ("x-forwarded-method", "GET")],
        [*traefik("GET", "/api/a").items(), ("x-original-uri", "/health")],
        [*traefik("POST", "/health").items(), ("x-original-method", "GET")],
    ],
    ids=str,
)
async def test_a_request_has_one_name(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    """A client cannot put another target beside the one that the front names."""
    async with fronted(tmp_path, ROUTES) as (front, shell):
        answer = await front.forward([*headers, ("x-api-key", front.key)])
        assert answer.status == 400
        problem(answer, "bad_request")
        behind = await front.forward([*nginx("GET", "/health").items()], "GET", "/api/a")
        problem(behind, "bad_request")
        assert await shell.settled() == 100 * CENT


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/../health"),
        ("GET", "/health/%2e%2e/api/a"),
        ("GET", "//api/a"),
        ("GET", "/api%2fa"),
        ("GET", "/api/a%00"),
        ("GET", "/api/%2541"),
        ("GET", "/api\\a"),
        ("GET", "/api/a;b"),
        ("GET", "/api/a#b"),
        ("GET", "http://host/api/a"),
        ("GET", "api/a"),
        ("GET", ""),
        ("GET", "?a"),
        ("get", "/api/a"),
        ("CONNECT", "/api/a"),
        ("TRACE", "/api/a"),
        ("GET, POST", "/api/a"),
    ],
)
async def test_what_can_be_read_in_two_ways_is_refused(tmp_path: Path, method: str, target: str) -> None:
    """The front forwards the very bytes that are judged here, so nobody may read them differently."""
    async with fronted(tmp_path, ROUTES) as (front, shell):
        problem(await front.forward(nginx(method, target, x_api_key=front.key)), "bad_request")
        assert await shell.settled() == 100 * CENT


async def test_what_is_free_passes_and_says_who_calls(tmp_path: Path) -> None:
    async with fronted(tmp_path, ROUTES) as (front, shell):
        public = await front.forward(nginx("GET", "/health"))
        assert (public.status, public.header("metergate-account")) == (200, "")
        assert public.header("metergate-request-id")
        free = await front.forward(nginx("GET", "/models", x_api_key=front.key))
        assert (free.status, free.header("metergate-account")) == (200, "acct")
        problem(await front.forward(nginx("GET", "/models")), "key_missing")
        asked = {"origin": "https://a", "access-control-request-method": "POST"}
        preflight = await front.forward({**nginx("OPTIONS", "/api/a"), **asked})
        assert (preflight.status, preflight.header("metergate-account")) == (200, "")
        assert await shell.settled() == 100 * CENT
        assert (await front.forward(nginx("HEAD", "/api/a", x_api_key=front.key))).status == 200
        assert await shell.settled() == 99 * CENT


async def test_units_that_are_counted_cost_what_is_held(tmp_path: Path) -> None:
    """Nobody tells here what the answer was; hold and settle are for fronts that can."""
    async with fronted(tmp_path, ROUTES) as (front, shell):
        answer = await front.forward(nginx("POST", "/query", x_api_key=front.key))
        assert answer.status == 200
        assert await shell.summary() == [("rows", 10, "held")]
        assert shell.balance() == 90 * CENT


async def test_a_price_that_hangs_on_the_body_wants_the_body(tmp_path: Path) -> None:
    """A front that sends it along has the call charged with what it may use; another one hears why not."""
    source = policy(
        meters={"tokens": {"count": "llm"}},
        prices={"tokens": {"price": "1", "per": 1000}},
        routes=[{"match": "* /**", "meter": "tokens", "hold": {"input_cap": 0}}],
    )
    async with fronted(tmp_path, source) as (front, shell):
        headers = {"x-api-key": front.key}
        body = b'{"model": "m", "max_tokens": 50}'
        assert (await front.forward(headers, "POST", "/v1/chat/completions", body)).status == 200
        answer = await front.forward(headers, "POST", "/v1/chat/completions")
        told = problem(answer, "bad_request")
        assert told["detail"] == "Send one JSON object; there is no body."
        assert await shell.settled() == 95 * CENT


async def test_one_charge_for_an_idempotency_key(tmp_path: Path) -> None:
    """What was done is not done again: its answer was the upstream's and is not kept here."""
    async with fronted(tmp_path, ROUTES) as (front, shell):
        asked = nginx("POST", "/api/a", x_api_key=front.key, idempotency_key="k")
        assert (await front.forward(asked)).status == 200
        await shell.settled()
        problem(await front.forward(asked), "idempotency_done")
        other = nginx("POST", "/api/b", x_api_key=front.key, idempotency_key="k")
        problem(await front.forward(other), "idempotency_mismatch")
        assert await shell.settled() == 99 * CENT


async def test_rates_hold_and_are_told(tmp_path: Path) -> None:
    source = policy(limits=[{"rate": 2, "per": "minute"}])
    async with fronted(tmp_path, source, clock=FakeClock()) as (front, _):
        asked = nginx("GET", "/x", x_api_key=front.key)
        assert [(await front.forward(asked)).status for _ in range(3)] == [200, 200, 429]
        answer = await front.forward(asked, behind="?deny=403")
        assert (answer.header("metergate-status"), answer.header("retry-after")) == ("429", "30")


async def test_a_front_may_ask_about_the_customers_own_side(tmp_path: Path) -> None:
    """The policy decides about every path; the customer's endpoints are not served here."""
    async with fronted(tmp_path) as (front, _):
        answer = await front.forward(nginx("GET", "/billing/v1/credits", x_api_key=front.key))
        assert (answer.status, answer.body) == (200, b"")


async def test_nobody_is_refused_in_shadow_mode(tmp_path: Path) -> None:
    async with fronted(tmp_path, policy(shadow=True)) as (front, shell):
        assert (await front.forward(nginx("GET", "/x"))).status == 200
        poor = await shell.customer("poor", credits="")
        assert (await front.forward(nginx("GET", "/x", x_api_key=poor))).status == 200
        assert await shell.summary("poor") == [("requests", 0, "shadow")]


async def test_headers_that_only_metergate_sends_are_not_believed(tmp_path: Path) -> None:
    async with fronted(tmp_path, ROUTES) as (front, _):
        forged = {"metergate-account": "other", "metergate-status": "200"}
        answer = await front.forward({**nginx("GET", "/api/a", x_api_key=front.key), **forged})
        assert (answer.status, answer.header("metergate-account")) == (200, "acct")
        twice = [*nginx("GET", "/api/a", x_api_key=front.key).items(), ("metergate-token", "x")]
        answer = await front.forward(twice)
        assert (answer.status, answer.json()["reason"]) == (401, "unauthorized")
        assert AUTHZ not in str(answer.headers)
