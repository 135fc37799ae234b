"""The usage of AI APIs, in the shapes that they answer with, as kinds that share no token."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core.kinds import KINDS, total
from metergate.core.money import UNITS_MAX
from metergate.meters.usage import counted

CHAT = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 128,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
RESPONSES = {
    "input_tokens": 328,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 52,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 380,
}
MESSAGES = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 456,
    "cache_read_input_tokens": 188086,
    "cache_creation": {"ephemeral_5m_input_tokens": 356, "ephemeral_1h_input_tokens": 100},
    "output_tokens": 393,
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "standard",
}
GEMINI = {
    "promptTokenCount": 1300,
    "candidatesTokenCount": 40,
    "totalTokenCount": 1440,
    "thoughtsTokenCount": 100,
    "cachedContentTokenCount": 1000,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 1042},
        {"modality": "IMAGE", "tokenCount": 258},
    ],
    "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 40}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 1000}],
}


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        (CHAT, {"input": 86, "cached_input": 1920, "output": 172, "reasoning": 128}),
        ({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}, {"input": 9, "output": 12}),
        ({"prompt_tokens": 8, "total_tokens": 8}, {"input": 8}),
        ({"prompt_tokens": 8, "completion_tokens": None, "total_tokens": 9}, {"input": 8, "output": 1}),
        (RESPONSES, {"input": 328, "output": 52}),
        ({"input_tokens": 5, "output_tokens": 7}, {"input": 5, "output": 7}),
        (
            MESSAGES,
            {
                "input": 21,
                "cached_input": 188086,
                "cache_write": 356,
                "cache_write_1h": 100,
                "output": 393,
                "search": 2,
            },
        ),
        (
            {"input_tokens": 3, "cache_read_input_tokens": 0, "output_tokens": 9,
             "output_tokens_details": {"thinking_tokens": 4}},
            {"input": 3, "output": 5, "reasoning": 4},
        ),
        (
            GEMINI,
            {"input": 42, "image_input": 258, "cached_input": 1000, "output": 40, "reasoning": 100},
        ),
        ({"promptTokenCount": 4, "totalTokenCount": 4}, {"input": 4}),
    ],
    ids=["chat", "plain chat", "embeddings", "output by the total", "responses", "plain", "messages",
         "thinking", "gemini", "gemini that answers nothing"],
)  # fmt: skip
def test_every_shape_is_taken_apart(usage: dict[str, Any], units: dict[str, int]) -> None:
    assert dict(counted(usage) or ()) == units


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        # DeepSeek and Moonshot name what was cached beside the totals.
        (
            {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105,
             "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
            {"input": 36, "cached_input": 64, "output": 5},
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cached_tokens": 64},
            {"input": 36, "cached_input": 64, "output": 5},
        ),
        # xAI leaves thoughts out of the output, and Gemini's OpenAI form only has them in the total.
        (
            {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
             "completion_tokens_details": {"reasoning_tokens": 94}},
            {"input": 32, "output": 9, "reasoning": 94},
        ),
        (
            {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135},
            {"input": 32, "output": 9, "reasoning": 94},
        ),
        # A gateway in between that speaks OpenAI and adds Anthropic's names.
        (
            {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105,
             "prompt_tokens_details": {"cached_tokens": 90}, "cache_read_input_tokens": 90},
            {"input": 10, "cached_input": 90, "output": 5},
        ),
        # Sound, in and out; cached and spoken may be the same tokens.
        (
            {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
             "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 60},
             "completion_tokens_details": {"audio_tokens": 40}},
            {"input": 10, "cached_input": 30, "audio_input": 60, "output": 10, "audio_output": 40},
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 0,
             "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 60}},
            {"cached_input": 40, "audio_input": 36, "cached_audio_input": 24},
        ),
        # Pictures: OpenAI's images, and sound as transcriptions name it.
        (
            {"input_tokens": 50, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
             "output_tokens": 1056, "total_tokens": 1106, "output_tokens_details": {"image_tokens": 1056}},
            {"input": 10, "image_input": 40, "image_output": 1056},
        ),
        (
            {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59,
             "input_token_details": {"text_tokens": 0, "audio_tokens": 14}},
            {"audio_input": 14, "output": 45},
        ),
        # Gemini: tools' answers are input, films in the cache have no kind of their own.
        (
            {"promptTokenCount": 500, "candidatesTokenCount": 7, "toolUsePromptTokenCount": 30,
             "cachedContentTokenCount": 300, "totalTokenCount": 537,
             "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100},
                                     {"modality": "VIDEO", "tokenCount": 400}],
             "cacheTokensDetails": [{"modality": "VIDEO", "tokenCount": 300}]},
            {"input": 130, "cached_input": 300, "video_input": 100, "output": 7},
        ),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 1300, "totalTokenCount": 1310,
             "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]},
            {"input": 10, "image_output": 1290, "output": 10},
        ),
    ],
)  # fmt: skip
def test_what_overlaps_is_counted_once(usage: dict[str, Any], units: dict[str, int]) -> None:
    """Whatever the server puts into what."""
    assert dict(counted(usage) or ()) == units


def test_an_explicit_zero_is_zero() -> None:
    """And no missing usage."""
    assert counted({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}) == ()
    assert counted({"input_tokens": 0, "output_tokens": 0}) == ()
    assert counted({"promptTokenCount": 0}) == ()


@pytest.mark.parametrize(
    "value", [-1, 1.0, 1.5, float("nan"), float("inf"), True, 2**53, "", "-1", "1.0", [], {}]
)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_what_is_no_count_is_no_usage(name: str, value: object) -> None:
    """One figure that cannot be believed, and none is."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    assert counted({**usage, name: value}) is None


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"total_tokens": 12},
        {"completion_tokens": 12},
        {"prompt_tokens": 12},
        {"prompt_tokens": None, "completion_tokens": 5},
        {"prompt_tokens": 5, "total_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 11},
        {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": -6}},
        {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": [1]},
        {"prompt_tokens": 5, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 8}},
        {"prompt_tokens": 5, "completion_tokens": 7,
         "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 4}},
        {"input_tokens": 5, "cache_read_input_tokens": 1},
        {"output_tokens": 5, "cache_read_input_tokens": 1},
        {"input_tokens": 1, "output_tokens": 5, "cache_creation_input_tokens": 4,
         "cache_creation": {"ephemeral_1h_input_tokens": 5}},
        {"totalTokenCount": 5},
        {"promptTokenCount": 5, "cachedContentTokenCount": 6},
        {"promptTokenCount": 5, "candidatesTokenCount": 1,
         "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}]},
        {"promptTokenCount": 5, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": "many"}]},
    ],
)  # fmt: skip
def test_what_does_not_add_up_is_no_usage(usage: dict[str, Any]) -> None:
    """Parts that are more than their whole, and wholes that are missing."""
    assert counted(usage) is None


@pytest.mark.parametrize("modality", [None, 1, [], {}, "TEXT", "SMELL"])
def test_details_of_an_unknown_sort_change_nothing(modality: object) -> None:
    details = [{"modality": modality, "tokenCount": 1}, modality]
    assert counted({"promptTokenCount": 5, "promptTokensDetails": details}) == (("input", 5),)


names = st.sampled_from(
    ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens",
     "cache_read_input_tokens", "cache_creation_input_tokens", "promptTokenCount", "candidatesTokenCount",
     "totalTokenCount", "thoughtsTokenCount", "reasoning_tokens", "audio_tokens"]
)  # fmt: skip
numbers = (
    st.integers(-2, 2**54)
    | st.integers(0, 50)
    | st.floats()
    | st.none()
    | st.booleans()
    | st.text(max_size=3)
)
details = st.dictionaries(names, numbers, max_size=3)
parts = st.sampled_from(["prompt_tokens_details", "completion_tokens_details", "cache_creation"])
usages = st.builds(
    lambda flat, nested: {**flat, **nested},
    st.dictionaries(names, numbers, max_size=6),
    st.dictionaries(parts, details | st.lists(numbers, max_size=2), max_size=2),
)


@given(usages)
def test_any_usage_is_a_believable_count_or_none(usage: dict[str, Any]) -> None:
    """Never negative, never of an unknown kind, never an exception."""
    found = counted(usage)
    for kind, units in found or ():
        assert kind in KINDS
        assert 0 < units <= 2 * UNITS_MAX


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.data())
def test_the_kinds_of_a_chat_sum_to_its_total(prompt: int, output: int, data: st.DataObject) -> None:
    cached = data.draw(st.integers(0, prompt))
    audio = data.draw(st.integers(0, prompt))
    thoughts = data.draw(st.integers(0, output))
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio},
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }
    found = counted(usage)
    assert found is not None
    assert total(found) == prompt + output
