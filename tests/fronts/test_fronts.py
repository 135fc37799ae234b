"""nginx, Caddy and Envoy, configured as in deploy/: each call is decided about, and served or not."""

import json
from pathlib import Path
from typing import Any

import pytest

from metergate.api import problem
from metergate.errors import StoreUnavailable
from tests.fronts.house import KINDS, TOKEN, Front, front, missing
from tests.proxy.house import Log, body, get, header, status
from tests.servers.serving import kill

Json = dict[str, Any]


async def charged(front: Front, account: str, calls: int) -> list[Json]:
    """The rows of an account, which must be so many."""
    rows = await front.rows(account, calls)
    assert len(rows) == calls
    return rows


async def test_a_call_that_is_paid_for_is_served(asking: Front) -> None:
    """The API gets the caller's bytes and learns who calls; the key and the token stay in front of it."""
    key = await asking.customer("paying")
    log = Log(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Api: 1\r\n\r\nok")
    async with asking.upstream(log):
        answer = await asking.say(get("/api/a?b=%41&c", key, "x-api-key: " + key, "x-custom: a b"))
    assert (status(answer), body(answer), header(answer, "x-api")) == (200, b"ok", "1")
    [row] = await charged(asking, "paying", 1)
    assert header(answer, "metergate-request-id") == row["request_id"]
    [head] = log.heads
    assert head.startswith(b"GET /api/a?b=%41&c HTTP/1.1\r\n")
    assert header(head, "metergate-account") == "paying"
    assert header(head, "metergate-plan") == "all"
    assert header(head, "x-custom") == "a b"
    assert key.encode() not in head
    assert TOKEN.encode() not in head + answer
    assert (row["path"], row["cost"]["amount"], row["measured"]) == ("/api/a", "0.01", "measured")
    if asking.kind != "caddy":
        assert header(answer, "metergate-cost") == "0.01"
        assert header(answer, "metergate-balance") == "0.99"


async def test_a_refusal_reaches_the_caller_as_metergate_gave_it(asking: Front) -> None:
    """Status, body and what readers and SDKs look at; the API hears nothing of the call."""
    poor = await asking.customer("poor", credits="")
    key = await asking.customer_once()
    log = Log()
    async with asking.upstream(log):
        for target, shown, expected, reason in (
            ("/api/a", poor, 402, "insufficient_credits"),
            ("/api/a", "", 401, "key_missing"),
            ("/nowhere", key, 403, "route_not_in_policy"),
            ("/api/a%2Fb", key, 400, "bad_request"),
        ):
            answer = await asking.say(get(target, shown))
            told = json.loads(body(answer))
            assert (status(answer), told["status"], told["reason"]) == (expected, expected, reason)
            assert header(answer, "content-type") == "application/problem+json"
            assert header(answer, "cache-control") == "no-store"
            assert header(answer, "metergate-request-id") == told["request_id"]
            assert told["error"]["code"] == reason
            if expected == 402:
                assert header(answer, "x-should-retry") == "false"
                assert header(answer, "link") == '</billing/v1/plans>; rel="payment"'
            if expected == 401:
                assert (header(answer, "www-authenticate") or "").startswith("Bearer")
    assert log.heads == []


async def test_a_quota_that_is_used_up_is_a_429(asking: Front) -> None:
    key = await asking.customer("quota")
    log = Log()
    async with asking.upstream(log):
        assert status(await asking.say(get("/few/a", key))) == 200
        answer = await asking.say(get("/few/b", key))
    assert (status(answer), json.loads(body(answer))["reason"]) == (429, "quota_exceeded")
    assert int(header(answer, "retry-after") or 0) > 0
    assert len(log.heads) == 1


async def test_a_refused_post_has_its_answer_too(asking: Front) -> None:
    """Also where its body was not read."""
    log = Log()
    async with asking.upstream(log):
        # Caddy hangs up on those who are still sending.
        for length in (3,) if asking.kind == "caddy" else (3, 100_000):
            head = get("/api/a", "", f"content-length: {length}", method="POST")
            answer = await asking.say(head + b"x" * length)
            assert (status(answer), json.loads(body(answer))["reason"]) == (401, "key_missing")
    assert log.heads == []


async def test_a_body_goes_to_the_api_alone(asking: Front) -> None:
    key = await asking.customer_once()
    sent = bytes(range(256)) * 4096
    log = Log()
    async with asking.upstream(log):
        answer = await asking.say(get("/api/a", key, f"content-length: {len(sent)}", method="POST") + sent)
    assert (status(answer), log.bodies) == (200, [sent])


async def test_what_is_free_is_served(asking: Front) -> None:
    """A public route wants no key, and whoever calls there is nobody."""
    key = await asking.customer_once()
    log = Log()
    async with asking.upstream(log):
        assert status(await asking.say(get("/public/a", "", "metergate-account: forged"))) == 200
        assert status(await asking.say(get("/free/a", key))) == 200
        assert status(await asking.say(get("/free/a"))) == 401
    accounts = [header(head, "metergate-account") for head in log.heads]
    assert accounts[0] in (None, "")
    assert accounts[1:] == ["regular"]


TARGETS = [
    "/public/../api/a", "/api/../public/a", "/public/%2e%2e/api/a", "/public/..%2fapi/a", "//api/a",
    "/public//a", "/public/./a", "/api/a;b", "/public;/../api/a", "/api%2fa", "/api/a%00", "/api/%2561",
    "/api/a\\b", "/api/a#b", "/public/a#/../../api/a", "http://other.example/api/a", "http:///api/a", "api/a",
    "*", "?a", "/public/a?x=../../api/a", "/api/a?", "/api/%61", "/api/%7Ea", "/api/a%20b", "/api/~a'(b)!*",
    "/api/%E2%82%AC?x=%2F..%2F", "/api/a|b", "/api/{a}", "/public/a?x=//evil.example/", "/PUBLIC/../api/a",
    "/billing/../api/a", "/billing/..%2fapi/a", "/metergate/decide", "/metergate/../api/a",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
async def test_what_is_decided_about_is_what_is_served(asking: Front, target: str) -> None:
    """Whatever the front makes of a target: nothing of a paid route is served free, and nothing twice."""
    account = f"t{TARGETS.index(target)}"
    key = await asking.customer(account)
    log = Log()
    async with asking.upstream(log):
        answers = [await asking.say(get(target, shown)) for shown in (key, "")]
    served = [line.split(b" ")[1] for line in log.lines]
    for found in served:
        path = found.partition(b"?")[0]
        assert path.startswith((b"/api/", b"/public/"))
        assert b".." not in path
        assert b"%2f" not in path
        assert b"//" not in path
    assert sum(path.startswith(b"/api/") for path in served) <= 1, "nobody is served without a key"
    await charged(asking, account, sum(path.startswith(b"/api/") for path in served))
    assert [answer[9:12] == b"200" for answer in answers].count(True) == len(served)


FORGED = [
    ["x-original-uri: /public/a"],
    ["x-original-uri: /public/a", "x-original-method: GET"],
    ["x-forwarded-uri: /public/a"],
    ["x-forwarded-uri: /public/a", "x-forwarded-method: GET"],
    ["x-original-url: /public/a", "x-rewrite-url: /public/a", "x-envoy-original-path: /public/a"],
    ["X_Original_URI: /public/a"],
    ["connection: x-original-uri, x-forwarded-uri, metergate-token", "x-forwarded-uri: /public/a"],
]


@pytest.mark.parametrize("forged", FORGED, ids=str)
async def test_a_caller_cannot_name_another_request(asking: Front, forged: list[str]) -> None:
    """Without a key nothing is served, with one each call is charged as what it is."""
    account = f"forging{FORGED.index(forged)}"
    key = await asking.customer(account)
    log = Log()
    async with asking.upstream(log):
        assert status(await asking.say(get("/api/a", "", *forged))) in (400, 401)
        answer = await asking.say(get("/api/a", key, *forged))
    assert len(log.heads) == (status(answer) == 200)
    await charged(asking, account, len(log.heads))


async def test_the_customers_own_side_is_passed_on(asking: Front) -> None:
    """Without a decision; nothing that only begins alike is."""
    key = await asking.customer("looking", "0.50")
    log = Log()
    async with asking.upstream(log):
        answer = await asking.say(get("/billing/v1/credits", key))
        assert json.loads(body(answer))["balance"]["amount"] == "0.50"
        assert status(await asking.say(get("/billing/v1/credits"))) == 401
        assert status(await asking.say(get("/billing/v2", key))) == 404
    assert log.heads == []


async def test_without_a_decision_nothing_is_served(tmp_path: Path) -> None:
    """While metergate is away each front says so in its own way; nginx as metergate would."""
    kinds = [kind for kind in KINDS if not missing(kind)]
    if not kinds:
        pytest.skip("None of the fronts is installed here.")
    for kind in kinds:
        folder = tmp_path / kind
        folder.mkdir()
        with front(folder, kind) as made:
            key = await made.customer("calling")
            kill(made.process)
            log = Log()
            async with made.upstream(log):
                for target in ("/api/a", "/public/a"):
                    answer = await made.say(get(target, key))
                    assert status(answer) in (502, 503)
                    if kind == "nginx":
                        told = json.loads(body(answer))
                        usual = problem.of_error(StoreUnavailable(told["detail"]))
                        assert {**told, "request_id": ""} == json.loads(bytes(usual.body))
                        assert header(answer, "retry-after") == "1"
            assert log.heads == []


async def test_an_error_of_the_api_is_its_own(asking: Front) -> None:
    """A 403 or a 500 of the API is no refusal of metergate's, and is charged: nobody tells of it here."""
    key = await asking.customer("unlucky")
    for number, line in enumerate((b"403 Forbidden", b"500 Internal Server Error", b"402 Payment Required")):
        async with asking.upstream(Log(b"HTTP/1.1 " + line + b"\r\nContent-Length: 3\r\n\r\napi")):
            answer = await asking.say(get("/api/a", key))
        assert (status(answer), body(answer)) == (int(line[:3]), b"api")
        await charged(asking, "unlucky", number + 1)
