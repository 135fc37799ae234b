"""The fake AI API: always the same for the same request, and broken in the ways that it is asked for."""

import json
from typing import Any

import pytest

from metergate.testing.asgi import Answer, Receive, Scope, Send, fetch
from metergate.testing.fake_ai import FakeAI

CHAT = "/v1/chat/completions"


async def ask(said: dict[str, Any], path: str = CHAT, fault: str = "", fake: FakeAI | None = None) -> Answer:
    headers = {"x-fake": fault} if fault else {}
    return await fetch(fake or FakeAI(), "POST", path, headers=headers, body=json.dumps(said).encode())


def question(text: str = "Say 4 words", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def test_it_says_as_many_words_as_it_is_asked_for() -> None:
    """And no more than it is allowed; a token is a word."""
    for said, words in (
        (question(), 4),
        (question("Hello"), 12),
        (question("Say 50 words", max_tokens=7), 7),
    ):
        told = (await ask(said)).json()
        assert len(told["choices"][0]["message"]["content"].split()) == words
        assert told["usage"]["completion_tokens"] == words


async def test_the_same_question_has_the_same_answer() -> None:
    assert (await ask(question())).body == (await ask(question())).body


async def test_a_stream_says_the_same_in_parts() -> None:
    lines = (await ask(question(stream=True))).body.decode().split("\n\n")
    parts = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines[:-2]]
    assert lines[-2:] == ["data: [DONE]", ""]
    assert "".join(parts) == (await ask(question())).json()["choices"][0]["message"]["content"]


async def test_it_remembers_what_it_was_asked() -> None:
    """In the process, and over HTTP."""
    fake = FakeAI()
    await ask(question(), fake=fake)
    with pytest.raises(ConnectionError):
        await ask(question(), fault="cut", fake=fake)
    assert [(each.method, each.path) for each in fake.journal] == [("POST", CHAT)] * 2
    told = (await fetch(fake, "GET", "/fake/journal")).json()
    assert (told["served"], len(told["asked"])) == (1, 2)
    assert json.loads(told["asked"][0]["body"]) == question()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (CHAT, "server_error"),
        ("/v1/messages", "overloaded_error"),
        ("/v1beta/models/m:generateContent", None),
    ],
)
async def test_an_error_is_in_the_words_of_the_api(path: str, kind: str | None) -> None:
    answer = await ask(question(), path, "status=503")
    assert answer.status == 503
    assert answer.json()["error"].get("type") == kind


@pytest.mark.parametrize(("fault", "difference"), [("", 0), ("short", 10), ("long", -10)])
async def test_a_length_can_be_wrong(fault: str, difference: int) -> None:
    answer = await ask(question(), fault=fault)
    assert int(answer.header("content-length") or 0) == len(answer.body) + difference


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        ("none", '"usage":null'),
        ("zero", '"prompt_tokens":0'),
        ("negative", '"completion_tokens":-7'),
        ("nan", '"total_tokens":NaN'),
        ("huge", '"prompt_tokens":9007199254740993'),
        ("float", '"prompt_tokens":1.5'),
        ("text", '"prompt_tokens":"many"'),
        ("nested", '"prompt_tokens":{"usage":'),
        ("duplicate", '"prompt_tokens":1,"prompt_tokens":6'),
    ],
)
async def test_usage_can_be_a_lie(usage: str, text: str) -> None:
    assert text in (await ask(question(), fault=f"usage={usage}")).body.decode()


async def test_what_it_does_not_know_is_not_found() -> None:
    assert (await ask({}, "/v1/unknown")).status == 404
    assert (await fetch(FakeAI(), "POST", CHAT, body=b"no json")).status == 404


async def test_a_client_that_leaves_early_is_no_request() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise AssertionError("There is nobody to answer.")

    fake = FakeAI()
    scope: Scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
    listening: Receive = receive
    telling: Send = send
    await fake(scope, listening, telling)
    assert not fake.journal
