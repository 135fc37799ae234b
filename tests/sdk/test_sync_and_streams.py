"""The official SDKs once more: their sync clients and their streams, request by request."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest

from tests.servers.serving import Server, serving

RETRIES = 2
"""What both SDKs do unless told; said here so that the tests stay honest when they change it."""
SAID: Any = [{"role": "user", "content": "Hello?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("uvicorn", "tests.sdk.streaming_app:app", tmp_path_factory.mktemp("sdk")) as found:
        yield found


class Sdk(NamedTuple):
    """One way to ask, and what it raises."""

    ask: Callable[[str, str], Awaitable[str]]
    errors: Any
    """The module with the exceptions."""


async def openai_sync(url: str, key: str) -> str:
    def ask() -> str:
        with openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=RETRIES) as client:
            answer = client.chat.completions.create(model="small", messages=SAID)
            return answer.choices[0].message.content or ""

    return await asyncio.to_thread(ask)


async def openai_stream(url: str, key: str) -> str:
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{url}/v1", max_retries=RETRIES) as client:
        stream = await client.chat.completions.create(model="small", messages=SAID, stream=True)
        return "".join([part.choices[0].delta.content or "" async for part in stream])


async def anthropic_sync(url: str, key: str) -> str:
    def ask() -> str:
        with anthropic.Anthropic(api_key=key, base_url=url, max_retries=RETRIES) as client:
            answer = client.messages.create(model="small", messages=SAID, max_tokens=9)
            return "".join(block.text for block in answer.content if block.type == "text")

    return await asyncio.to_thread(ask)


async def anthropic_stream(url: str, key: str) -> str:
    async with (
        anthropic.AsyncAnthropic(api_key=key, base_url=url, max_retries=RETRIES) as client,
        client.messages.stream(model="small", messages=SAID, max_tokens=9) as stream,
    ):
        return "".join([text async for text in stream.text_stream])


SDKS = {
    "openai": Sdk(openai_sync, openai),
    "openai stream": Sdk(openai_stream, openai),
    "anthropic": Sdk(anthropic_sync, anthropic),
    "anthropic stream": Sdk(anthropic_stream, anthropic),
}


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    return SDKS[request.param]


class Customer(NamedTuple):
    """An account of one test, and what the network and the app saw of it."""

    account: str
    key: str
    server: Server

    async def asked(self) -> tuple[int, int]:
        """How many requests of the key arrived, and how many of the account reached the app."""
        async with self.server.client() as client:
            told = (await client.get("/public/seen")).json()
        return told["outside"].get(self.key[-6:], 0), told["inside"].get(self.account, 0)


Open = Callable[..., Awaitable[Customer]]


@pytest.fixture
async def customer(server: Server, request: pytest.FixtureRequest) -> Open:
    """Opens the account of the test."""

    async def open_account(credits: str = "1.00", plan: str = "chat") -> Customer:
        account = "".join(each if each.isalnum() else "_" for each in request.node.name)[-64:]
        return Customer(account, await server.customer(account, credits, plan), server)

    return open_account


async def test_a_paid_call_is_answered(sdk: Sdk, server: Server, customer: Open) -> None:
    """As the API answers, streams too."""
    paying = await customer()
    assert await sdk.ask(server.url, paying.key) == "Hello"
    assert await paying.asked() == (1, 1)
    assert len(await server.rows(paying.account, at_least=1)) == 1


async def test_credits_that_are_used_up_are_told_once(sdk: Sdk, server: Server, customer: Open) -> None:
    """The SDK raises at once; a retry would not help, and there is none."""
    poor = await customer("0.01")
    assert await sdk.ask(server.url, poor.key) == "Hello"
    with pytest.raises(sdk.errors.APIStatusError) as raised:
        await sdk.ask(server.url, poor.key)
    error = raised.value
    assert error.status_code == 402
    if isinstance(error, openai.APIStatusError):
        assert (error.code, error.type, error.param) == ("insufficient_credits", "insufficient_quota", None)
        assert isinstance(error.body, dict)
        assert error.body["message"] in error.message
    else:
        assert isinstance(error, anthropic.PaymentRequiredError)
        assert error.type == "billing_error"
        assert isinstance(error.body, dict)
        assert (error.body["type"], error.body["error"]["type"]) == ("error", "billing_error")
        assert error.body["error"]["message"] in error.message
    told = error.response.json()
    assert (told["reason"], told["top_up_url"]) == ("insufficient_credits", "https://pay.example/top-up")
    assert error.response.headers["metergate-request-id"] == told["request_id"]
    assert await poor.asked() == (2, 1)


async def test_a_plan_without_the_feature(sdk: Sdk, server: Server, customer: Open) -> None:
    """PermissionDeniedError, once."""
    bare = await customer(plan="bare")
    with pytest.raises(sdk.errors.PermissionDeniedError) as raised:
        await sdk.ask(server.url, bare.key)
    assert raised.value.response.json()["reason"] == "feature_not_in_plan"
    assert await bare.asked() == (1, 0)


async def test_a_quota_that_comes_back_next_year(sdk: Sdk, server: Server, customer: Open) -> None:
    """RateLimitError, and no SDK waits for it."""
    used_up = await customer(plan="once")
    assert await sdk.ask(server.url, used_up.key) == "Hello"
    with pytest.raises(sdk.errors.RateLimitError) as raised:
        await sdk.ask(server.url, used_up.key)
    response: httpx2.Response = raised.value.response
    assert response.json()["reason"] == "quota_exceeded"
    assert response.headers["x-should-retry"] == "false"
    assert await used_up.asked() == (2, 1)
