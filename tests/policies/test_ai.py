"""The policies for AI APIs, as they are shipped, around an API that answers as its makers do."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from metergate.config import locate
from metergate.testing.fake_ai import FakeAI
from tests.shell import CENT, metered, problem

MILLION = 1_000_000
PROMPT = 6
"""Tokens of the question, as the fake counts them."""

SAID = [{"role": "user", "content": "Say 10 words"}]
CONTENTS = [{"parts": [{"text": "Say 10 words"}]}]


def chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": SAID, **more}


def tool(method: str, **params: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def listed(input: int, output: int = 0) -> float:
    """The question and ten words at a maker's prices in nanos a token, and a fifth more."""
    return 1.2 * (PROMPT * input + 10 * output)


EMBEDDED = {"model": "text-embedding-3-small", "input": "Say 10 words"}
PICTURES = {"model": "dall-e-3", "n": 2, "size": "1024x1024"}
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"


@pytest.mark.parametrize(
    ("policy", "path", "said", "nanos"),
    [
        ("openai", "/v1/chat/completions", chat("gpt-4o"), listed(2500, 10_000)),
        ("openai", "/v1/responses", {"model": "gpt-4o-mini", "input": "Say 10 words"}, listed(150, 600)),
        ("openai", "/v1/embeddings", EMBEDDED, listed(20)),
        ("openai", "/v1/images/generations", PICTURES, 10 * CENT),
        ("anthropic", "/v1/messages", chat("claude-sonnet-4-0", max_tokens=99), listed(3000, 15_000)),
        ("gemini", GEMINI, {"contents": CONTENTS}, listed(300, 2500)),
        ("gemini", "/v1beta/openai/chat/completions", chat("gemini-2.5-flash"), listed(300, 2500)),
        ("compatible", "/v1/chat/completions", chat("Llama-3.3-70B"), PROMPT * 600 + 10 * 800),
        ("compatible", "/v1/chat/completions", chat("mistral"), (PROMPT + 10) * 200),
        ("mcp", "/mcp", tool("tools/call", name="search"), CENT),
        ("mcp", "/mcp", tool("tools/call", name="other"), 0.2 * CENT),
        ("mcp", "/mcp", tool("tools/list"), 0),
    ],
)
async def test_a_call_costs_what_the_policy_says(
    tmp_path: Path, policy: str, path: str, said: dict[str, Any], nanos: float
) -> None:
    """The list price of the model and a fifth more, or the policy's own."""
    async with metered(FakeAI(), tmp_path, locate.template(policy)) as shell:
        for stream in (False, True) if path.endswith(("chat/completions", "messages")) else (False,):
            before = shell.balance()
            body = json.dumps({**said, "stream": stream} if stream else said).encode()
            assert (await shell.fetch("POST", path, body)).status == 200
            assert before - await shell.settled() == round(nanos)


async def test_a_charge_says_by_which_prices_it_was_made(tmp_path: Path) -> None:
    """The library's version and the maker; and the policy, whose version changes with them."""
    async with metered(FakeAI(), tmp_path, locate.template("openai")) as shell:
        await shell.fetch("POST", "/v1/chat/completions", json.dumps(chat("gpt-4o")).encode())
        [row] = await shell.rows()
        assert row["dimensions"]["prices"] == f"genai-prices {metadata.version('genai-prices')} openai"
        assert row["policy"] == shell.engine.policy.version


@pytest.mark.parametrize(
    ("policy", "method", "path"),
    [
        ("openai", "GET", "/v1/models"),
        ("anthropic", "POST", "/v1/messages/count_tokens"),
        ("gemini", "POST", "/v1beta/models/gemini-2.5-flash:countTokens"),
        ("compatible", "GET", "/v1/models"),
        ("mcp", "DELETE", "/mcp"),
    ],
)
async def test_what_costs_nothing_wants_a_key(tmp_path: Path, policy: str, method: str, path: str) -> None:
    """The upstream's credential is behind it."""
    async with metered(FakeAI(), tmp_path, locate.template(policy)) as shell:
        assert (await shell.fetch(method, path)).status in (200, 404)
        assert (await shell.fetch(method, path, key="")).status == 401
        assert await shell.settled() == 10**9


@pytest.mark.parametrize("policy", ["openai", "anthropic", "gemini"])
async def test_everything_else_is_refused(tmp_path: Path, policy: str) -> None:
    """Other paths, and models that the table does not know."""
    paths = {
        "openai": "/v1/chat/completions",
        "anthropic": "/v1/messages",
        "gemini": "/v1beta/models/none:generateContent",
    }
    async with metered(FakeAI(), tmp_path, locate.template(policy)) as shell:
        assert problem(await shell.fetch("POST", "/v1/files"), "route_not_in_policy")
        assert problem(await shell.fetch("POST", paths[policy], b'{"model": "none"}'), "no_price")


async def test_an_agent_that_asks_for_much_needs_little_credit(tmp_path: Path) -> None:
    """64,000 tokens are asked for, 4,096 are held."""
    async with metered(FakeAI(), tmp_path, locate.template("anthropic")) as shell:
        poor = await shell.customer("poor", "0.08")
        body = json.dumps({"model": "claude-sonnet-4-0", "max_tokens": 64_000, "messages": SAID}).encode()
        assert (await shell.fetch("POST", "/v1/messages", body, poor)).status == 200
