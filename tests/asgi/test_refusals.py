"""Refusals, as they come over HTTP: status, headers, one body for every reader, and which comes first."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from metergate.asgi.request_headers import HeaderReader
from metergate.core import keys
from metergate.testing.asgi import fetch
from metergate.testing.clock import START_US, FakeClock
from tests.shell import CENT, hello, metered, policy, problem

NEVER_MINTED = keys.mint("live", lambda count: bytes(range(count)))
TEST_KEY = keys.mint("test", lambda count: bytes(range(count)))
DAY_US = 86_400 * 10**6


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({}, 401, "key_missing"),
        ({"authorization": "Bearer "}, 401, "key_missing"),
        ({"authorization": "Basic dTpw"}, 401, "key_missing"),
        ({"authorization": "Bearer nonsense"}, 401, "key_invalid"),
        ({"x-api-key": "mg_live_short_x"}, 401, "key_invalid"),
        ({"x-api-key": NEVER_MINTED[:-1] + ("0" if NEVER_MINTED[-1] != "0" else "1")}, 401, "key_invalid"),
        ({"x-api-key": NEVER_MINTED}, 401, "key_invalid"),
        ({"x-api-key": "mg_live_" + "x" * 5000}, 401, "key_invalid"),
        ({"x-api-key": "mg_live_½_é"}, 401, "key_invalid"),
        ({"x-api-key": TEST_KEY}, 401, "key_environment"),
        ({"x-api-key": NEVER_MINTED, "api-key": TEST_KEY}, 400, "two_keys"),
    ],
)
async def test_a_key_that_opens_nothing(
    tmp_path: Path, headers: dict[str, str], status: int, reason: str
) -> None:
    """Nothing is counted, and the app never hears of it."""
    async with metered(hello, tmp_path) as shell:
        answer = await fetch(shell.app, "GET", "/x", headers=headers)
        assert answer.status == status
        told = problem(answer, reason)
        assert answer.header("x-should-retry") == "false"
        assert answer.header("retry-after") is None
        assert answer.header("www-authenticate") == ('Bearer realm="metergate"' if status == 401 else None)
        shown = [value for value in headers.values() if len(value) > 10]
        assert all(value not in answer.body.decode() for value in shown)
        assert told["error"]["type"] == ("authentication_error" if status == 401 else "invalid_request_error")
        assert await shell.rows() == []


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-goog-api-key"])
async def test_a_key_may_stand_in_any_of_four_headers(tmp_path: Path, header: str) -> None:
    async with metered(hello, tmp_path) as shell:
        value = f"bearer  {shell.key}" if header == "authorization" else shell.key
        for _ in range(3):
            assert (await fetch(shell.app, "GET", "/x", headers={header: value})).status == 200
        assert len(await shell.rows()) == 3


async def test_the_same_key_twice_is_one_key_and_two_are_refused(tmp_path: Path) -> None:
    async with metered(hello, tmp_path) as shell:
        other = await shell.customer("other")
        for _ in range(2):
            same = {"authorization": f"Bearer {shell.key}", "x-api-key": shell.key}
            assert (await fetch(shell.app, "GET", "/x", headers=same)).status == 200
            both = {"authorization": f"Bearer {shell.key}", "x-api-key": other}
            problem(await fetch(shell.app, "GET", "/x", headers=both), "two_keys")
            repeated = [("x-api-key", shell.key), ("x-api-key", other)]
            problem(await fetch(shell.app, "GET", "/x", headers=repeated), "two_keys")
        assert len(await shell.rows()) == 2


@pytest.mark.parametrize(("blanks", "remembered"), [(1, True), (50_000, False)])
async def test_a_key_that_is_spelled_with_many_blanks_fills_no_memory(
    tmp_path: Path, blanks: int, remembered: bool
) -> None:
    async with metered(hello, tmp_path) as shell:
        spelled = f"Bearer {' ' * blanks}{shell.key}"
        assert (await shell.fetch("GET", "/x", key="", authorization=spelled)).status == 200
        (gate,) = shell.engine.foundation.gates
        assert (spelled.encode() in (gate.members.lanes[b"authorization"] or {})) is remembered


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
def test_a_key_of_a_megabyte_is_read_no_further_than_a_key_goes(name: str) -> None:
    """What is read of it is too long still."""
    value = b"Bearer mg_live_" + b"a" * 10**6
    (key,) = HeaderReader([name]).read([(name.encode(), value)]).keys
    assert len(key) == keys.LENGTH_MAX + 1
    assert keys.parse(key) is None


async def test_a_revoked_key_is_refused_by_the_very_next_call(tmp_path: Path) -> None:
    """Also while the gate still remembers the key, on a metered and on a free route."""
    async with metered(hello, tmp_path) as shell:
        assert (await shell.fetch("GET", "/x")).status == 200
        assert (await shell.fetch("GET", "/free/x")).status == 200
        await shell.engine.office.keys.revoke(shell.key[8:18])
        problem(await shell.fetch("GET", "/x"), "key_revoked")
        problem(await shell.fetch("GET", "/free/x"), "key_revoked")


async def test_an_expired_key(tmp_path: Path) -> None:
    clock = FakeClock()
    async with metered(hello, tmp_path, clock=clock) as shell:
        key = await shell.customer("short", expires_at="1h")
        clock.advance(seconds=3599.9)
        assert (await shell.fetch("GET", "/x", key=key)).status == 200
        clock.advance(seconds=0.1)
        answer = await shell.fetch("GET", "/x", key=key)
        assert answer.status == 401
        problem(answer, "key_expired")


async def test_credits_that_are_used_up(tmp_path: Path) -> None:
    """402 says what is missing, what is there and where to pay, and no SDK repeats it."""
    async with metered(hello, tmp_path, policy(top_up_url="https://pay.example/top-up")) as shell:
        key = await shell.customer("poor", "0.015")
        assert (await shell.fetch("GET", "/x", key=key)).status == 200
        answer = await shell.fetch("GET", "/x", key=key)
        assert answer.status == 402
        told = problem(answer, "insufficient_credits")
        assert told["required"] == {"currency": "USD", "amount": "0.01", "nanos": CENT}
        assert told["available"] == {"currency": "USD", "amount": "0.005000", "nanos": CENT // 2}
        assert told["top_up_url"] == "https://pay.example/top-up"
        assert told["type"] == "urn:metergate:reason:insufficient_credits"
        assert told["error"]["type"] == "insufficient_quota"
        assert (told["meter"], told["scope"]) == ("requests", "account")
        assert answer.header("link") == '<https://pay.example/top-up>; rel="payment"'
        assert answer.header("x-should-retry") == "false"
        assert answer.header("retry-after") is None


async def test_anthropic_callers_get_their_own_shape(tmp_path: Path) -> None:
    async with metered(hello, tmp_path) as shell:
        key = await shell.customer("poor", "")
        answer = await shell.fetch("GET", "/x", key=key, anthropic_version="2023-06-01")
        told = problem(answer, "insufficient_credits")
        assert (told["type"], told["error"]["type"]) == ("error", "billing_error")
        assert answer.header("link") == '</billing/v1/plans>; rel="payment"'


ENTITLED = policy(
    plans={
        "free": {"features": ["basic"]},
        "big": {"features": ["basic", "chat"], "included": {"unpriced": {"units": 5}}},
    },
    default_plan="free",
    routes=[
        {"match": "POST /chat", "meter": "requests", "feature": "chat"},
        {"match": "GET /chat", "free": True, "feature": "chat"},
        {"match": "GET /scoped", "meter": "requests", "scope": "read"},
        {"match": "GET /unpriced", "meter": "unpriced"},
    ],
    meters={"requests": {"count": "calls"}, "unpriced": {"count": "calls"}},
    prices={"requests": {"price": "0.01"}},
)


async def test_what_is_not_in_the_plan_or_the_key_or_the_policy(tmp_path: Path) -> None:
    """403: paying does not help, another plan or another key does."""
    async with metered(hello, tmp_path, ENTITLED) as shell:
        for method, path, reason in [
            ("POST", "/chat", "feature_not_in_plan"),
            ("GET", "/chat", "feature_not_in_plan"),
            ("GET", "/elsewhere", "route_not_in_policy"),
            ("DELETE", "/chat", "route_not_in_policy"),
        ]:
            answer = await shell.fetch(method, path)
            assert answer.status == 403
            problem(answer, reason)
            assert answer.header("x-should-retry") == "false"
        await shell.engine.office.accounts.subscribe("acct", "big")
        assert (await shell.fetch("POST", "/chat")).status == 200
        narrow = (await shell.engine.office.keys.create("acct", scopes=["write"]))["key"]
        problem(await shell.fetch("GET", "/scoped", key=narrow), "scope_missing")
        wide = (await shell.engine.office.keys.create("acct", scopes=["write", "read"]))["key"]
        assert (await shell.fetch("GET", "/scoped", key=wide)).status == 200
        await shell.engine.office.accounts.suspend("acct")
        problem(await shell.fetch("POST", "/chat"), "account_suspended")


async def test_time_cures_a_rate_and_says_when(tmp_path: Path) -> None:
    clock = FakeClock()
    async with metered(hello, tmp_path, policy(limits=[{"rate": 2, "per": "minute"}]), clock=clock) as shell:
        first = await shell.fetch("GET", "/x")
        assert first.header("ratelimit-policy") == '"2-per-minute";q=2;w=60'
        assert first.header("ratelimit") == '"2-per-minute";r=1;t=30'
        assert first.header("x-ratelimit-limit-requests") == "2"
        assert first.header("x-ratelimit-remaining-requests") == "1"
        assert (await shell.fetch("GET", "/x")).status == 200
        answer = await shell.fetch("GET", "/x")
        assert answer.status == 429
        told = problem(answer, "rate_limited")
        assert told["resets_at"] == "2026-01-01T00:00:30Z"
        assert answer.header("ratelimit-policy") == '"2-per-minute";q=2;w=60'
        assert answer.header("ratelimit") == '"2-per-minute";r=0;t=30'
        assert answer.header("x-ratelimit-limit-requests") == "2"
        assert answer.header("x-ratelimit-remaining-requests") == "0"
        assert answer.header("x-ratelimit-reset-requests") == "30s"
        assert answer.header("retry-after") == "30"
        assert answer.header("x-should-retry") is None
        assert told["error"]["type"] == "rate_limit_exceeded"
        clock.advance(seconds=30)
        assert (await shell.fetch("GET", "/x")).status == 200


async def test_an_allowance_that_is_used_up_comes_back_with_its_window(tmp_path: Path) -> None:
    """An SDK would wait two minutes at most, so it is told not to try."""
    clock = FakeClock(START_US + DAY_US // 2)
    plans = {"free": {"included": {"requests": {"units": 1, "every": "day"}}}}
    async with metered(hello, tmp_path, policy(plans=plans, default_plan="free"), clock=clock) as shell:
        first = await shell.fetch("GET", "/x")
        assert first.header("ratelimit") == '"requests";r=0;t=43200'
        assert (first.status, first.header("metergate-cost")) == (200, "0.00")
        answer = await shell.fetch("GET", "/x")
        assert answer.status == 429
        told = problem(answer, "quota_exceeded")
        assert told["resets_at"] == "2026-01-02T00:00:00Z"
        assert (told["required"], told["available"]) == (1, 0)
        assert answer.header("ratelimit-policy") == '"requests";q=1;w=43200'
        assert answer.header("ratelimit") == '"requests";r=0;t=43200'
        assert answer.header("retry-after") == "43200"
        assert answer.header("x-should-retry") == "false"
        clock.advance(seconds=43_200)
        assert (await shell.fetch("GET", "/x")).status == 200


async def test_more_open_calls_than_allowed(tmp_path: Path) -> None:
    async with metered(hello_slowly := _Slow(), tmp_path, policy(concurrency=1)) as shell:
        async with shell.request("GET", "/x") as first:
            await first.status()
            answer = await shell.fetch("GET", "/x")
            assert answer.status == 429
            problem(answer, "too_many_open")
            assert answer.header("retry-after") == "1"
            hello_slowly.go()
            await first.read()
        await shell.settled()
        hello_slowly.go()
        assert (await shell.fetch("GET", "/x")).status == 200


class _Slow:
    """Answers its first byte at once and the rest when it is told to."""

    def __init__(self) -> None:
        self.waiting = asyncio.Semaphore(0)

    def go(self) -> None:
        self.waiting.release()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.waiting.acquire()
        await send({"type": "http.response.body", "body": b"done"})


CAPS = policy(caps=[{"spend": "0.01", "every": "day"}], limits=[{"rate": 1, "per": "second"}])


async def test_a_spending_cap_is_money_and_comes_after_the_rate(tmp_path: Path) -> None:
    """Of all that is wrong with a request the caller hears of the first, in the written order."""
    clock = FakeClock()
    async with metered(hello, tmp_path, CAPS, clock=clock) as shell:
        key = await shell.customer("poor", "0.01")
        assert (await shell.fetch("GET", "/x", key=key)).status == 200
        problem(await shell.fetch("GET", "/x", key=key), "rate_limited")
        clock.advance(seconds=1)
        answer = await shell.fetch("GET", "/x", key=key)
        assert answer.status == 402
        told = problem(answer, "cap_reached")
        assert told["resets_at"] == "2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("method", "path", "key", "reason"),
    [
        ("GET", "/a//b", "none", "bad_request"),
        ("GET", "/not/in/policy", "none", "key_missing"),
        ("GET", "/not/in/policy", "revoked", "key_revoked"),
        ("GET", "/not/in/policy", "suspended", "account_suspended"),
        ("GET", "/not/in/policy", "poor", "route_not_in_policy"),
        ("POST", "/chat", "none", "key_missing"),
        ("POST", "/chat", "suspended", "account_suspended"),
        ("POST", "/chat", "poor", "feature_not_in_plan"),
        ("GET", "/unpriced", "poor", "no_price"),
    ],
)
async def test_the_first_reason_in_the_written_order_is_told(
    tmp_path: Path, method: str, path: str, key: str, reason: str
) -> None:
    async with metered(hello, tmp_path, ENTITLED) as shell:
        shown = {"none": "", "poor": await shell.customer("poor", "")}
        shown["revoked"] = await shell.customer("revoked", "")
        await shell.engine.office.keys.revoke(shown["revoked"][8:18])
        shown["suspended"] = await shell.customer("suspended", "")
        await shell.engine.office.accounts.suspend("suspended")
        problem(await shell.fetch(method, path, key=shown[key]), reason)


@pytest.mark.parametrize(
    "path",
    [
        "//x", "/x//y", "/./x", "/x/..", "/x/../y", "/x/%2e%2e/y", "/x/%2E./y", "/x%2Fy", "/x%2fy", "/x%5Cy",
        "/x\\y", "/x%00", "/x%252Fy", "/x;v=1", "/x%3By", "/x#y", "/x%23y", "/x%", "/x%zz", "/x%ff", "x", "*",
        "http://elsewhere/x", "/x%0Ay", "/" + "x" * 9000,
    ],
)  # fmt: skip
async def test_a_path_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, path: str) -> None:
    """Otherwise a rule could be met by one reading and the app by another. On a public route too."""
    async with metered(hello, tmp_path) as shell:
        answer = await shell.fetch("GET", path)
        assert answer.status == 400
        problem(answer, "bad_request")
        assert await shell.rows() == []


@pytest.mark.parametrize(
    "path", ["/x/y", "/x%20y", "/caf%C3%A9", "/a.b/..c/...", "/x/", "/", "/~u/@me/$a+b,c=d:e"]
)
async def test_a_plain_path_passes(tmp_path: Path, path: str) -> None:
    async with metered(hello, tmp_path) as shell:
        assert (await shell.fetch("GET", path)).status == 200
        assert len(await shell.rows()) == 1


@pytest.mark.parametrize("method", ["get", "TRACE", "CONNECT", "BREW", "Get"])
async def test_an_odd_method_is_refused(tmp_path: Path, method: str) -> None:
    async with metered(hello, tmp_path) as shell:
        problem(await shell.fetch(method, "/x"), "bad_request")


async def test_a_rotated_key_works_for_its_grace_and_not_a_moment_longer(tmp_path: Path) -> None:
    """Meanwhile both spend from one account, and answers tell the end of the old one, also of its memory."""
    clock = FakeClock()
    async with metered(hello, tmp_path, clock=clock) as shell:
        assert (await shell.fetch("GET", "/x")).status == 200
        rotated = await shell.engine.office.keys.rotate(shell.key[8:18], grace="1h")
        new = await shell.fetch("GET", "/x", key=rotated["key"])
        assert (new.status, new.header("metergate-key-expires")) == (200, None)
        clock.advance(seconds=3599.5)
        for target in ("/x", "/x", "/free/x"):  # looked at closely, known, and where nothing is held
            old = await shell.fetch("GET", target)
            assert old.status == 200
            assert old.header("metergate-key-expires") == rotated["replaces"]["expires_at"]
        clock.advance(seconds=0.5)
        for _ in range(2):
            problem(await shell.fetch("GET", "/x"), "key_expired")
        assert (await shell.fetch("GET", "/x", key=rotated["key"])).status == 200
        assert {row["account"] for row in await shell.rows()} == {"acct"}
        assert await shell.settled() == 10**9 - 5 * CENT


async def test_a_leaked_key_is_rotated_without_any_grace(tmp_path: Path) -> None:
    async with metered(hello, tmp_path) as shell:
        assert (await shell.fetch("GET", "/x")).status == 200
        await shell.engine.office.keys.rotate(shell.key[8:18], grace="0")
        problem(await shell.fetch("GET", "/x"), "key_revoked")
