"""The official SDKs against an AI API that is sold by the token: as if nothing stood in between."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest

from tests.proxy.house import gateway
from tests.sdk.fake_app import POLICY
from tests.servers.serving import Server, serving

RETRIES = 2
SAID: Any = [{"role": "user", "content": "Say 30 words"}]
PROMPT, WORDS = 6, 30


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("uvicorn", "tests.sdk.fake_app:direct", tmp_path_factory.mktemp("direct")) as found:
        yield found


@pytest.fixture(scope="module", params=["middleware", "proxy"])
def metered(
    request: pytest.FixtureRequest, direct: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The same API for money: in one process with the gate, and behind `metergate serve`."""
    folder = tmp_path_factory.mktemp("metered")
    if request.param == "proxy":
        with gateway(folder, {**POLICY, "upstream": {"url": direct.url}}) as found:
            yield found
    else:
        with serving("uvicorn", "tests.sdk.fake_app:metered", folder) as found:
            yield found


class Heard(NamedTuple):
    """What an SDK made of an answer, and the answer as it came."""

    made: Any
    body: bytes


asked_over_the_wire: Counter[str] = Counter()
"""Requests by the key that they showed, the SDKs' own retries among them."""


class Recording(httpx2.AsyncHTTPTransport):
    """Keeps the bodies as they came over the wire."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        shown = request.headers.get("x-api-key") or request.headers["authorization"].removeprefix("Bearer ")
        asked_over_the_wire[shown] += 1
        response = await super().handle_async_request(request)
        stream, bodies = response.stream, self.bodies
        bodies.append(b"")

        class Recorded(httpx2.AsyncByteStream):
            async def __aiter__(self) -> Any:
                async for chunk in stream:  # type: ignore[union-attr]  # the transport is asynchronous
                    bodies[-1] += chunk
                    yield chunk

            async def aclose(self) -> None:
                await stream.aclose()  # type: ignore[union-attr]  # the transport is asynchronous

        response.stream = Recorded()
        return response


Ask = Callable[[Any], Awaitable[Any]]


async def openai_heard(url: str, key: str, ask: Ask) -> Heard:
    wire = Recording()
    async with openai.AsyncOpenAI(
        api_key=key, base_url=f"{url}/v1", max_retries=RETRIES, http_client=httpx2.AsyncClient(transport=wire)
    ) as client:
        return Heard(await ask(client), wire.bodies[-1])


async def anthropic_heard(url: str, key: str, ask: Ask) -> Heard:
    wire = Recording()
    async with anthropic.AsyncAnthropic(
        api_key=key, base_url=url, max_retries=RETRIES, http_client=httpx2.AsyncClient(transport=wire)
    ) as client:
        return Heard(await ask(client), wire.bodies[-1])


async def chat(client: openai.AsyncOpenAI) -> Any:
    return (await client.chat.completions.create(model="m", messages=SAID)).model_dump()


async def chat_stream(client: openai.AsyncOpenAI) -> Any:
    stream = await client.chat.completions.create(model="m", messages=SAID, stream=True)
    return [part.model_dump() async for part in stream]


async def chat_stream_with_usage(client: openai.AsyncOpenAI) -> Any:
    options: Any = {"include_usage": True}
    stream = await client.chat.completions.create(
        model="m", messages=SAID, stream=True, stream_options=options
    )
    return [part.model_dump() async for part in stream]


async def response(client: openai.AsyncOpenAI) -> Any:
    return (await client.responses.create(model="m", input="Say 30 words")).model_dump()


async def response_stream(client: openai.AsyncOpenAI) -> Any:
    stream = await client.responses.create(model="m", input="Say 30 words", stream=True)
    return [part.model_dump() async for part in stream]


async def embeddings(client: openai.AsyncOpenAI) -> Any:
    return (await client.embeddings.create(model="m", input="Say 30 words")).model_dump()


async def message(client: anthropic.AsyncAnthropic) -> Any:
    return (await client.messages.create(model="m", messages=SAID, max_tokens=90)).model_dump()


async def message_stream(client: anthropic.AsyncAnthropic) -> Any:
    async with client.messages.stream(model="m", messages=SAID, max_tokens=90) as stream:
        return "".join([text async for text in stream.text_stream])


OPENAI: list[Ask] = [chat, chat_stream, chat_stream_with_usage, response, response_stream, embeddings]
ANTHROPIC: list[Ask] = [message, message_stream]


@pytest.mark.parametrize("ask", OPENAI + ANTHROPIC, ids=lambda ask: ask.__name__)
async def test_an_sdk_hears_what_it_hears_without_us(direct: Server, metered: Server, ask: Ask) -> None:
    """The same to the byte, streamed or not; and the call is charged for its tokens."""
    key = await metered.customer(ask.__name__)
    heard = openai_heard if ask in OPENAI else anthropic_heard
    ours, theirs = await heard(metered.url, key, ask), await heard(direct.url, "none", ask)
    assert ours.body == theirs.body
    assert ours.made == theirs.made
    (row,) = await metered.rows(ask.__name__, at_least=1)
    output = 0 if ask is embeddings else WORDS
    assert row["units"] == PROMPT + output
    assert row["cost"]["nanos"] == PROMPT * 2000 + output * 10_000
    assert row["measured"] == "measured"


async def test_the_sync_clients_as_well(metered: Server) -> None:
    key = await metered.customer("sync")

    def ask() -> tuple[Any, Any]:
        with openai.OpenAI(api_key=key, base_url=f"{metered.url}/v1") as client:
            stream = client.chat.completions.create(model="m", messages=SAID, stream=True)
            said = "".join([part.choices[0].delta.content or "" for part in stream])
        with (
            anthropic.Anthropic(api_key=key, base_url=metered.url) as other,
            other.messages.stream(model="m", messages=SAID, max_tokens=90) as talk,
        ):
            return said, "".join(talk.text_stream)

    mine, other = await asyncio.to_thread(ask)
    assert mine == other
    assert len(mine.split()) == WORDS
    assert {row["units"] for row in await metered.rows("sync", at_least=2)} == {PROMPT + WORDS}


@pytest.mark.parametrize("ask", OPENAI + ANTHROPIC, ids=lambda ask: ask.__name__)
async def test_who_cannot_pay_hears_it_once(metered: Server, ask: Ask) -> None:
    """402, without a retry, and nothing has reached the API."""
    account = f"poor_{ask.__name__}"
    key = await metered.customer(account, "0.000001")
    heard, errors = (openai_heard, openai) if ask in OPENAI else (anthropic_heard, anthropic)
    before = await asked(metered)
    with pytest.raises(errors.APIStatusError) as raised:
        await heard(metered.url, key, ask)
    assert raised.value.status_code == 402
    assert await asked(metered) == before
    assert asked_over_the_wire[key] == 1


async def asked(server: Server) -> int:
    async with server.client() as client:
        return int((await client.get("/public/seen")).json()["asked"])


async def test_a_stream_that_outgrows_the_credits_raises_in_the_sdk(metered: Server) -> None:
    """In the middle, after all that was paid for, with the code of the refusal."""
    key = await metered.customer("dry", "0.004")
    words: Any = [{"role": "user", "content": "Say 4000 words"}]
    said = 0

    async def listen(stream: Any) -> None:
        nonlocal said
        async for _ in stream:
            said += 1

    async with openai.AsyncOpenAI(api_key=key, base_url=f"{metered.url}/dry/v1") as client:
        stream = await client.chat.completions.create(model="m", messages=words, stream=True)
        with pytest.raises(openai.APIError) as raised:
            await listen(stream)
    assert raised.value.code == "insufficient_credits"
    assert 200 < said < 1000
    (row,) = await metered.rows("dry", at_least=1)
    assert row["measured"] == "estimated"


async def test_the_same_in_the_other_sdk(metered: Server) -> None:
    key = await metered.customer("dry2", "0.004")
    words: Any = [{"role": "user", "content": "Say 4000 words"}]
    async with anthropic.AsyncAnthropic(api_key=key, base_url=f"{metered.url}/dry") as client:
        with pytest.raises(anthropic.APIStatusError) as raised:
            async with client.messages.stream(model="m", messages=words, max_tokens=9000) as stream:
                assert "".join([text async for text in stream.text_stream])
    body: Any = raised.value.body
    assert body["error"]["type"] == "billing_error"
