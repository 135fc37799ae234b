"""What the official SDKs make of a refusal: the right exception, and no useless retry."""

import asyncio
from collections.abc import Iterator

import anthropic
import httpx2
import openai
import pytest

from metergate.core import keys
from tests.servers.serving import Server, serving
from tests.waiting import DEADLINE_S

NEVER_MINTED = keys.mint("live", lambda count: bytes(range(count)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("uvicorn", "tests.sdk.ai_app:app", tmp_path_factory.mktemp("sdk")) as found:
        yield found


def came(server: Server, path: str) -> int:
    """How many requests reached the server on a path."""
    seen = httpx2.get(f"{server.url}/public/seen", timeout=DEADLINE_S).json()
    return int(seen.get(path, 0))


async def ask_openai(server: Server, key: str, base: str, **more: str) -> str:
    url = server.url + base
    async with asyncio.timeout(DEADLINE_S), openai.AsyncOpenAI(api_key=key, base_url=url) as client:
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], extra_headers=more
        )
    return str(answer.choices[0].message.content)


async def ask_anthropic(server: Server, key: str, base: str) -> str:
    url = server.url + base
    async with asyncio.timeout(DEADLINE_S), anthropic.AsyncAnthropic(api_key=key, base_url=url) as client:
        answer = await client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    (block,) = answer.content
    assert block.type == "text"
    return block.text


async def test_both_speak_to_a_metered_api(server: Server) -> None:
    """Their own headers carry the key; nothing has to be set but the address."""
    key = await server.customer("both")
    assert await ask_openai(server, key, "/openai-ok") == "hello"
    assert await ask_anthropic(server, key, "/anthropic-ok") == "hello"
    assert len(await server.rows("both", 2)) == 2


async def test_openai_and_a_402(server: Server) -> None:
    """`APIStatusError` with code, type and message, after exactly one request."""
    key = await server.customer("openai-poor", "")
    with pytest.raises(openai.APIStatusError) as caught:
        await ask_openai(server, key, "/openai-402")
    error = caught.value
    assert error.status_code == 402
    assert (error.code, error.type) == ("insufficient_credits", "insufficient_quota")
    assert "top up" in error.message
    assert error.response.headers["link"] == '<https://pay.example/top-up>; rel="payment"'
    assert came(server, "/openai-402/chat/completions") == 1


async def test_anthropic_and_a_402(server: Server) -> None:
    """Its own class for it, after exactly one request."""
    key = await server.customer("anthropic-poor", "")
    with pytest.raises(anthropic.PaymentRequiredError) as caught:
        await ask_anthropic(server, key, "/anthropic-402")
    body = caught.value.body
    assert isinstance(body, dict)
    assert (body["type"], body["error"]["type"]) == ("error", "billing_error")
    assert "top up" in body["error"]["message"]
    assert body["request_id"]
    assert came(server, "/anthropic-402/v1/messages") == 1


async def test_both_and_a_key_that_nobody_knows(server: Server) -> None:
    with pytest.raises(openai.AuthenticationError):
        await ask_openai(server, NEVER_MINTED, "/openai-401")
    with pytest.raises(anthropic.AuthenticationError):
        await ask_anthropic(server, NEVER_MINTED, "/anthropic-401")
    assert came(server, "/openai-401/chat/completions") == 1
    assert came(server, "/anthropic-401/v1/messages") == 1


async def test_a_limit_that_ends_far_away_is_not_tried_again(server: Server) -> None:
    """A quota of the year: both give up at once with their class for 429."""
    key = await server.customer("far")
    assert await ask_openai(server, key, "/yearly/first") == "hello"
    with pytest.raises(openai.RateLimitError) as caught:
        await ask_openai(server, key, "/yearly/openai")
    assert caught.value.code == "quota_exceeded"
    with pytest.raises(anthropic.RateLimitError):
        await ask_anthropic(server, key, "/yearly/anthropic")
    assert came(server, "/yearly/openai/chat/completions") == 1
    assert came(server, "/yearly/anthropic/v1/messages") == 1


async def test_a_plan_that_is_too_small_is_a_permission_error(server: Server) -> None:
    key = await server.customer("suspended")
    await server.ask("accounts.suspend", id="suspended")
    with pytest.raises(openai.PermissionDeniedError):
        await ask_openai(server, key, "/openai-403")
    with pytest.raises(anthropic.PermissionDeniedError):
        await ask_anthropic(server, key, "/anthropic-403")


async def test_a_retry_of_the_sdk_is_charged_once(server: Server) -> None:
    """With the SDK's header for it the second call is answered from the first."""
    key = await server.customer("twins")
    for _ in range(2):
        assert await ask_openai(server, key, "/twins", **{"Idempotency-Key": "job-7"}) == "hello"
    assert len(await server.rows("twins", 1)) == 1
