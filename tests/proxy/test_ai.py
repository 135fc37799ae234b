"""An AI API behind the proxy, as a server that fails on demand: what every failure costs."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.proxy.house import Gateway, gateway, get, status
from tests.servers.serving import Server, serving

INPUT, OUTPUT = 2_000, 10_000
PROMPT = 6
POLICY: dict[str, Any] = {
    "metergate": 1,
    "meters": {"tokens": {"count": "llm"}},
    "prices": {
        "tokens": [
            {"when": {"kind": "input"}, "price": "2.00", "per": 1_000_000},
            {"when": {"kind": "output"}, "price": "10.00", "per": 1_000_000},
        ]
    },
    "routes": [
        {"match": "GET /public/seen", "public": True},
        {"match": "POST /drained/**", "meter": "tokens", "drain": "20s"},
        {"match": "POST /estimated/**", "meter": "tokens", "on_missing_usage": "estimate"},
        {"match": "POST /**", "meter": "tokens"},
    ],
}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("uvicorn", "tests.sdk.fake_app:direct", tmp_path_factory.mktemp("fake")) as found:
        yield found


@pytest.fixture(scope="module")
def ai(upstream: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("ai"), {**POLICY, "upstream": {"url": upstream.url}}) as made:
        yield made


def question(words: int, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": f"Say {words} words"}], **more}


async def ask(ai: Gateway, key: str, said: dict[str, Any], fault: str = "", at: str = "") -> httpx2.Response:
    async with ai.client(key, **{"x-fake": fault} if fault else {}) as client:
        return await client.post(f"{at}/v1/chat/completions", json=said)


Spent = tuple[int, str] | None
"""Tokens of output and how they are known; None where there is no row."""


@pytest.mark.parametrize(
    ("fault", "stream", "answered", "spent"),
    [
        ("", False, 200, (40, "measured")),
        ("", True, 200, (40, "measured")),
        ("slow=0.001", True, 200, (40, "measured")),
        ("garbage", True, 200, (40, "measured")),
        ("usage=none", True, 200, (100, "held")),
        ("usage=none", False, 200, (100, "held")),
        ("usage=huge", True, 200, (100, "held")),
        ("usage=huge", False, 200, (100, "held")),
        ("usage=negative", True, 200, (100, "held")),
        ("usage=negative", False, 200, (100, "held")),
        ("usage=nan", True, 200, (100, "held")),
        ("usage=nan", False, 200, (100, "held")),
        ("usage=zero", True, 200, (0, "measured")),
        ("usage=zero", False, 200, (0, "measured")),
        ("usage=twice", True, 200, (40, "measured")),
        ("usage=twice", False, 200, (100, "held")),
        ("error", True, 200, (100, "held")),
        ("garbage", False, 200, (100, "held")),
        ("status=503", False, 503, None),
        ("status=400", True, 400, (0, "measured")),
        ("cut", True, 0, (20, "estimated")),
        ("cut", False, 0, (36, "estimated")),
        ("short", False, 0, (40, "measured")),
        ("long", False, 0, (0, "estimated")),
    ],
)
async def test_what_goes_wrong_costs_what_the_policy_says(
    ai: Gateway, fault: str, stream: bool, answered: int, spent: Spent
) -> None:
    """The client hears what the API said, as far as that went; the ledger says how its cost is known."""
    account = f"a_{fault}_{stream}".translate(str.maketrans("=.", "__"))
    key = await ai.customer(account)
    said = question(40, max_tokens=100, stream=stream)
    if answered:
        assert (await ask(ai, key, said, fault)).status_code == answered
    else:
        with pytest.raises(httpx2.RemoteProtocolError):
            await ask(ai, key, said, fault)
    rows = await ai.rows(account, at_least=0 if spent is None else 1)
    if spent is None:
        assert rows == []
        assert await ai.balance(account) == "1.00"
        return
    [row] = rows
    output, measured = spent
    assert row["measured"] == measured
    kinds = {kind: int(row["dimensions"].get(kind, 0)) for kind in ("input", "output")}
    if measured == "estimated":
        assert abs(kinds["output"] - output) < 12
    else:
        assert kinds["output"] == output
    if (measured, output) == ("measured", 40):
        assert kinds["input"] == PROMPT
    assert row["cost"]["nanos"] == kinds["input"] * INPUT + kinds["output"] * OUTPUT
    assert row["units"] == sum(kinds.values())


async def test_missing_usage_may_be_estimated(ai: Gateway) -> None:
    key = await ai.customer("estimated")
    await ask(ai, key, question(40, max_tokens=1000, stream=True), "usage=none", "/estimated")
    [row] = await ai.rows("estimated", at_least=1)
    assert row["measured"] == "estimated"
    assert 30 < int(row["dimensions"]["output"]) < 55


async def chunks(ai: Gateway, key: str, said: dict[str, Any], count: int, at: str = "") -> None:
    """Listen to so many events of a stream, and leave."""
    async with ai.client(key, **{"x-fake": "slow=0.005"}) as client:
        path = f"{at}/v1/chat/completions"
        async with client.stream("POST", path, json=said) as response:
            assert response.status_code == 200
            heard = 0
            async for _ in response.aiter_raw():
                heard += 1
                if heard == count:
                    break


async def test_a_client_that_leaves_a_drained_stream_pays_what_it_used(ai: Gateway) -> None:
    """The API is heard to its end, for what it says there."""
    key = await ai.customer("drained")
    await chunks(ai, key, question(60, stream=True), 10, "/drained")
    [row] = await ai.rows("drained", at_least=1)
    assert (row["measured"], row["dimensions"]["output"]) == ("measured", "60")


async def test_a_client_that_leaves_pays_what_it_heard(ai: Gateway) -> None:
    key = await ai.customer("left")
    await chunks(ai, key, question(400, stream=True), 100)
    [row] = await ai.rows("left", at_least=1)
    assert row["measured"] == "estimated"
    assert 80 < int(row["dimensions"]["output"]) < 200


async def test_two_hundred_streams_cut_at_random_are_each_charged_once(ai: Gateway) -> None:
    """Every hold ends, and the sum of the rows is what the balance lost."""
    key = await ai.customer("crowd", "100.00")
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)

    async def leave(after: float) -> None:
        said = json.dumps(question(100, stream=True, max_tokens=100)).encode()
        head = get(
            "/v1/chat/completions", key, f"content-length: {len(said)}", "x-fake: slow=0.01", method="POST"
        )
        async with ai.dial() as line:
            await line.say(head + said)
            assert status(await line.head()) == 200
            await asyncio.sleep(after)
            if after < 0.5:
                line.reset()

    await asyncio.gather(*[leave(chance.random() * 1.2) for _ in range(200)])
    rows = await ai.rows("crowd", at_least=200)
    assert len(rows) == 200, f"seed {seed}"
    assert {row["measured"] for row in rows} <= {"estimated", "measured"}
    for row in rows:
        kinds = row["dimensions"]
        cost = int(kinds.get("input", 0)) * INPUT + int(kinds.get("output", 0)) * OUTPUT
        assert row["cost"]["nanos"] == cost
        assert int(kinds.get("output", 0)) < 130
    paid = 100 * 10**9 - sum(row["cost"]["nanos"] for row in rows)
    told = await ai.ask("credits.show", account="crowd")
    assert (told["held"]["nanos"], told["balance"]["nanos"]) == (0, paid), f"seed {seed}"
    assert (await ai.ask("verify"))["ok"]
