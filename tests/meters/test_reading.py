"""What a request says of its own price: read once, in one way, and passed on as it came."""

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate import meters
from metergate.core.policy import Meter, Route, TokenHold
from metergate.meters import Reading, Unreadable
from metergate.meters.llm import TOKENS_MAX
from metergate.meters.prompts import TOKENS_PER_BLOB
from metergate.meters.reading import in_steps

LLM = Meter("tokens", "llm")
MCP = Meter("tools", "mcp")
PICTURES = Meter(
    "pictures", "json", path="$.n", of="request", otherwise=1, max_units=10, dimensions=(("size", "$.size"),)
)
CHAT = "/v1/chat/completions"


def read(meter: Meter, said: object, path: str = CHAT, **hold: Any) -> Reading:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    route = Route(0, "POST /**", "POST", "/**", meter=meter.name, hold_tokens=TokenHold(**hold))
    return meters.read(meter, route, path, body)


def held(said: Mapping[str, object], path: str = CHAT, **hold: Any) -> dict[str, int]:
    return dict(read(LLM, {"model": "m", **said}, path, **hold).asked.counts)


@pytest.mark.parametrize(
    ("said", "path", "output"),
    [
        ({}, CHAT, 4096),
        ({"max_tokens": 100}, CHAT, 100),
        ({"max_completion_tokens": 200}, CHAT, 200),
        ({"max_tokens": 100, "max_completion_tokens": 200}, CHAT, 200),
        ({"max_tokens": None}, CHAT, 4096),
        ({"max_tokens": 0}, CHAT, 4096),
        ({"max_tokens": -1}, CHAT, 4096),
        ({"max_tokens": 1.5}, CHAT, 4096),
        ({"max_tokens": "100"}, CHAT, 100),
        ({"max_tokens": 1e3}, CHAT, 1000),
        ({"max_tokens": " 100.0 "}, CHAT, 100),
        ({"max_tokens": "nan"}, CHAT, 4096),
        ({"max_tokens": True}, CHAT, 4096),
        ({"max_tokens": [100]}, CHAT, 4096),
        ({"max_tokens": 10**21}, CHAT, TOKENS_MAX),
        ({"max_tokens": "9" * 400}, CHAT, TOKENS_MAX),
        ({"max_tokens": 2**53 - 1, "n": 10**9}, CHAT, TOKENS_MAX * 1024),
        ({"max_tokens": 100, "n": -3}, CHAT, 100),
        ({"max_tokens": 100, "n": "2"}, CHAT, 200),
        ({"max_tokens": 100, "n": [2]}, CHAT, 100),
        ({"max_tokens": 100, "n": 3}, CHAT, 300),
        ({"max_tokens": 100, "n": None}, CHAT, 100),
        ({"max_tokens": 100, "best_of": 4}, "/v1/completions", 400),
        ({"max_output_tokens": 50, "input": "x"}, "/v1/responses", 50),
        ({"max_tokens": 7}, "/v1/messages", 7),
        (
            {"generationConfig": {"maxOutputTokens": 9, "candidateCount": 2}},
            "/v1beta/models/g:generateContent",
            18,
        ),
        ({"generation_config": {"max_output_tokens": 9}}, "/v1beta/models/g:streamGenerateContent", 9),
        (
            {"generationConfig": {"maxOutputTokens": 1}, "generation_config": {"max_output_tokens": 9}},
            "/v1beta/models/g:generateContent",
            9,
        ),
        ({"input": "x"}, "/v1/embeddings", 0),
        ({"content": {}}, "/v1beta/models/g:embedContent", 0),
    ],
)
def test_as_much_is_held_as_may_be_answered(said: dict[str, object], path: str, output: int) -> None:
    """In the words of every API; what is no number is left to the upstream to refuse."""
    assert held(said, path).get("output", 0) == output


def test_the_policy_says_what_is_held_where_nothing_is_named_and_what_at_most() -> None:
    assert held({}, output=1024)["output"] == 1024
    assert held({"max_tokens": 9000}, output=1024, output_cap=2000)["output"] == 2000
    assert held({"text": "x" * 9000}, input_cap=300)["input"] == 300
    assert held({"text": "x y" * 3000}, input_cap=0, output_cap=0) == {}


def test_the_prompt_is_taken_for_rather_more_than_it_is() -> None:
    """A token for every two bytes, in steps; a picture is one, whatever its size in bytes."""
    said = {"messages": [{"role": "user", "content": "four words of text " * 50}]}
    tokens = held(said)["input"]
    assert tokens == in_steps(len(json.dumps({"model": "m", **said})) // 2)
    assert 950 / 2 < tokens < 1.25 * (950 / 2 + 50)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 250_000}}
    with_picture = held({**said, "more": picture})["input"]
    assert tokens + TOKENS_PER_BLOB < with_picture < 1.25 * (tokens + TOKENS_PER_BLOB + 60)
    lines = "\\r\\n".join(["QUJD" * 19] * 5000)
    for name, blob in {"data": lines, "file_data": f"data:application/pdf;base64,{lines}"}.items():
        assert held({name: blob})["input"] < 1.25 * (TOKENS_PER_BLOB + 60)
    chinese = {"messages": [{"role": "user", "content": "计" * 4000}]}
    for escaped in (True, False):
        body = json.dumps({"model": "m", **chinese}, ensure_ascii=escaped).encode()
        assert dict(read(LLM, body).asked.counts)["input"] > 4000


@pytest.mark.parametrize(
    "said",
    [
        {"messages": [{"role": "user", "content": "x" * 60_000}]},
        {"messages": [{"role": "user", "content": [{"text": "data:image/png;base64,QUJD" * 3000}]}]},
        {"input": ["url", "x" * 60_000]},
        {"contents": [{"functionResponse": {"response": {"result": "1,2.5,x;" * 8000}}}]},
        {"contents": [{"inlineData": {"data": "计" * 20_000}}]},
    ],
)  # fmt: skip
def test_a_text_is_no_picture_however_it_looks(said: dict[str, object]) -> None:
    """A client that writes without a blank is not held for less than it may use."""
    assert held(said)["input"] > 30_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","x":[' + b'"",' * 600_000 + b'""]}',
        b'{"model":"m","generationConfig":' + b"[" + b"[]," * 2_000_000 + b"[]]}",
        b'"' * 2_000_000,
    ],
    ids=["texts", "values", "quotes"],
)
def test_what_would_take_seconds_to_read_is_refused_at_once(body: bytes) -> None:
    """Whoever has a key could hold up everybody else with it."""
    began = time.process_time()
    with pytest.raises(Unreadable, match="at most 500,000 texts and 2,000,000 values"):
        read(LLM, body)
    assert time.process_time() - began < 0.5


@given(st.integers(1, 10**9))
def test_prompts_of_about_one_length_are_held_alike(tokens: int) -> None:
    """Never less, and at most a quarter more."""
    assert tokens <= in_steps(tokens) <= 1.25 * tokens


@pytest.mark.parametrize(
    ("said", "path", "dimensions"),
    [
        ({"model": "gpt-4o"}, CHAT, {"model": "gpt-4o"}),
        ({"model": "Meta-Llama/Llama-3.3:free"}, CHAT, {"model": "meta-llama/llama-3.3:free"}),
        ({"model": "m"}, "/openai/deployments/my-gpt/chat/completions", {"model": "my-gpt"}),
        ({}, "/v1beta/models/gemini-2.5-pro:streamGenerateContent", {"model": "gemini-2.5-pro"}),
        ({}, "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
         {"model": "gemini-2.5-pro"}),
        ({"model": "models/embedding-004"}, "/v1beta/openai/embeddings", {"model": "embedding-004"}),
        ({}, CHAT, {}),
        ({"model": None}, CHAT, {}),
        ({"model": "m", "service_tier": "flex"}, CHAT, {"model": "m", "service_tier": "flex"}),
        ({"model": "m", "service_tier": "auto", "speed": "fast"}, CHAT, {"model": "m", "speed": "fast"}),
        ({"model": "m", "service_tier": None}, CHAT, {"model": "m"}),
        ({"model": "m", "service_tier": "PRIORITY"}, CHAT, {"model": "m", "service_tier": "priority"}),
        ({"serviceTier": "flex"}, "/v1beta/models/g:generateContent", {"model": "g", "service_tier": "flex"}),
        ({"model": "m", "inference_geo": "us"}, "/v1/messages", {"model": "m", "inference_geo": "us"}),
        ({"model": "m", "models": [], "fallbacks": None}, CHAT, {"model": "m"}),
    ],
)  # fmt: skip
def test_the_model_and_its_service_choose_the_price(
    said: dict[str, object], path: str, dimensions: dict[str, str]
) -> None:
    """In small letters; the path knows better than the body."""
    assert dict(read(LLM, said, path).asked.dimensions) == dimensions


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"model=gpt-4o",
        b"[]",
        b'"gpt-4o"',
        b'{"model": "gpt-4o"',
        b'{"model": "gpt-4o"} {}',
        b'\xef\xbb\xbf{"model": "gpt-4o"}',
        '{"model": "gpt-4o"}'.encode("utf-16"),
        b'{"model": "gpt-4o", "temperature": NaN}',
        b'{"model": 5}',
        b'{"model": ["gpt-4o"]}',
        b'{"model": ""}',
        b'{"model": " gpt-4o"}',
        b'{"model": "gpt-4o\\n"}',
        b'{"model": "gpt-4o-mini", "model": "gpt-4o"}',
        b'{"model": "gpt-4o-mini", "mod\\u0065l": "gpt-4o"}',
        b'{"model": "gpt-4o-mini", "Model": "gpt-4o"}',
        b'{"Model": "gpt-4o"}',
        b'{"model": "m", "n": 1, "N": 5}',
        b'{"model": "m", "max_tokens": 1, "max_tokens": 5}',
        b'{"model": "m", "service_tier": "a b"}',
        b'{"model": "m", "service_tier": "flex", "serviceTier": "priority"}',
        b'{"model": "m", "models": ["m", "dearer"]}',
        b'{"model": "m", "fallbacks": [{"model": "dearer"}]}',
        '{"model":"m","z":"\u755c\u3030\u3034"}'.encode("utf-16-le"),
        b'{"model": "m", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(body: bytes) -> None:
    """Whoever serves it must not understand another model, or another number."""
    with pytest.raises(Unreadable, match=r"^(Send|Write|Name) .*\.$"):
        read(LLM, body)


def test_the_names_that_matter_may_stand_deeper_as_often_as_they_like() -> None:
    """In the schemas of tools, or as what somebody says."""
    said = {
        "model": "gpt-4o",
        "messages": [{"content": "model", "name": "Model"}, {"content": '"model": "x"'}],
        "tools": [{"parameters": {"properties": {"model": {"n": 1}, "Model": {}}}}],
        "text": "ä",
    }
    assert dict(read(LLM, said).asked.dimensions) == {"model": "gpt-4o"}


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers() | st.none(), max_size=5))
def test_any_object_is_read_or_refused(said: dict[str, object]) -> None:
    for meter in (LLM, MCP, PICTURES):
        try:
            found = read(meter, said)
        except Unreadable:
            continue
        assert found.asked.units is not None
        assert found.asked.units >= 0


@pytest.mark.parametrize(
    ("message", "dimensions"),
    [
        ({"method": "tools/call", "params": {"name": "search", "arguments": {"name": "x"}}},
         {"method": "tools/call", "tool": "search"}),
        ({"method": "prompts/get", "params": {"name": "p"}}, {"method": "prompts/get", "prompt": "p"}),
        ({"method": "tools/list"}, {"method": "tools/list"}),
        ({"method": "notifications/initialized"}, {"method": "notifications/initialized"}),
        ({"id": 1, "result": {}}, {"method": "response"}),
    ],
)  # fmt: skip
def test_a_message_to_a_server_of_tools(message: dict[str, object], dimensions: dict[str, str]) -> None:
    """One unit, priced by its method and its tool."""
    asked = read(MCP, {"jsonrpc": "2.0", "id": 1, **message}).asked
    assert (asked.units, dict(asked.dimensions)) == (1, dimensions)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'[{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}]',
        b'{"method":"tools/list","method":"tools/call","params":{"name":"a"}}',
        b'{"method":"tools/call","params":{"name":"cheap","name":"dear"}}',
        b'{"method":"tools/call","params":{"name":"cheap","Name":"dear"}}',
        b'{"method":"tools/call","params":{"name":"cheap"},"params":{"name":"dear"}}',
        b'{"method":"tools/call","params":["cheap"]}',
        b'{"method":"tools/call","params":{}}',
        b'{"method":"tools/call"}',
        b'{"method":7}',
        b'{"method":"tools/call","params":{"name":"' + b"x" * 201 + b'"}}',
    ],
)
def test_messages_that_are_several_or_in_doubt_are_refused(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(MCP, body)


@pytest.mark.parametrize(
    ("said", "units", "dimensions"),
    [
        ({"n": 4, "size": "1024x1024"}, 4, {"size": "1024x1024"}),
        ({"n": "4", "size": 512}, 4, {"size": "512"}),
        ({"size": True}, 1, {"size": "true"}),
        ({"prompt": "a cat"}, 1, {}),
        ({"n": None}, 1, {}),
        ({"n": 0}, 0, {}),
    ],
)
def test_a_request_that_says_what_it_costs(said: object, units: int, dimensions: dict[str, str]) -> None:
    """And one that leaves it out, where the policy says what that means."""
    asked = read(PICTURES, said, "/v1/images/generations").asked
    assert (asked.units, dict(asked.dimensions)) == (units, dimensions)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"n": -1}', "Send a whole number at $.n."),
        (b'{"n": 1.5}', "Send a whole number at $.n."),
        (b'{"n": true}', "Send a whole number at $.n."),
        (b'{"n": 11}', "Send at most 10 at $.n."),
        (b'{"n": 1, "n": 9}', "Write n once, and just so."),
        (b'{"n": 1, "N": 9}', "Write n once, and just so."),
        (b'{"size": ["a"]}', "Send a text or a whole number at $.size."),
        (b'{"size": "' + b"x" * 201 + b'"}', "Send a text or a whole number at $.size."),
        (b"n=1", "Send one JSON object in UTF-8."),
    ],
)
def test_a_request_that_does_not_is_told_what_to_send(body: bytes, sentence: str) -> None:
    with pytest.raises(Unreadable) as raised:
        read(PICTURES, body)
    assert str(raised.value) == sentence


def test_without_a_word_for_it_the_number_must_be_there() -> None:
    with pytest.raises(Unreadable, match="Send a whole number"):
        read(Meter("m", "json", path="$.n", of="request"), {})


def test_dimensions_can_be_read_for_any_meter() -> None:
    """The units are counted as ever, and a call without a body has none of them."""
    meter = Meter("calls", "calls", dimensions=(("size", "$.image.size"),))
    asked = read(meter, {"image": {"size": "big"}}).asked
    assert (asked.units, asked.dimensions) == (None, (("size", "big"),))
    assert read(meter, b"").asked.dimensions == ()
    tokens = Meter("tokens", "llm", dimensions=(("size", "$.image.size"),))
    asked = read(tokens, {"model": "m", "image": {"size": "big"}}).asked
    assert asked.dimensions == (("model", "m"), ("size", "big"))
