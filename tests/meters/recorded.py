"""Answers of AI APIs as they came over the wire, shortened, and the units that they report."""

import json
from typing import Any, NamedTuple

SSE = b"text/event-stream; charset=utf-8"
JSON = b"application/json"


class Answer(NamedTuple):
    content_type: bytes
    body: bytes
    units: dict[str, int]


def events(*values: dict[str, Any] | str, named: bool = False, end: str = "\n\n") -> bytes:
    """Server-sent events; `named` gives each the name of its type, as Anthropic and OpenAI's responses do."""
    lines = []
    for value in values:
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        name = f"event: {value['type']}\n" if named and isinstance(value, dict) else ""
        lines.append(
            f"{name}data: {text}{end}".replace("\n", end[: len(end) // 2]) if name else f"data: {text}{end}"
        )
    return "".join(lines).encode()


def chunk(delta: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]
    return {
        "id": "chatcmpl-BQ",
        "object": "chat.completion.chunk",
        "created": 1745900000,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_ee1d",
        "choices": choices,
        **more,
    }


CHAT_USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
CHAT_UNITS = {"input": 19, "output": 10}
RESPONSE = {
    "id": "resp_67cc",
    "object": "response",
    "created_at": 1741476542,
    "status": "completed",
    "error": None,
    "model": "gpt-4.1-2025-04-14",
    "instructions": 'Say "usage": {"input_tokens": 0}',
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "In a peaceful grove"}]}],
    "tools": [{"type": "function", "name": "f", "parameters": {"usage": {"input_tokens": 0}}}],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 32},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 123,
    },
    "user": None,
    "metadata": {"usage": "none of yours"},
}
RESPONSE_UNITS = {"input": 4, "cached_input": 32, "output": 87}
MESSAGE_START = {
    "type": "message_start",
    "message": {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 7,
            "output_tokens": 1,
            "service_tier": "standard",
        },
    },
}
TEXT_DELTA = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": 'Hello, "usage": {"output_tokens": 0}!'},
}
MESSAGE_DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 15},
}
MESSAGE_STOP = {"type": "message_stop"}
MESSAGE_UNITS = {"input": 25, "cached_input": 7, "output": 15}


def gemini(text: str, **usage: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 8, **usage},
        "modelVersion": "gemini-2.5-flash",
    }


GEMINI = (
    gemini("Hello", totalTokenCount=40, thoughtsTokenCount=32),
    gemini(" there", totalTokenCount=42, thoughtsTokenCount=32, candidatesTokenCount=2),
    gemini("!", totalTokenCount=44, thoughtsTokenCount=32, candidatesTokenCount=4),
)
GEMINI_UNITS = {"input": 8, "output": 4, "reasoning": 32}

ANSWERS = {
    "chat": Answer(
        JSON,
        json.dumps(
            {
                "id": "chatcmpl-B9",
                "object": "chat.completion",
                "model": "gpt-4o",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": 'My "usage" is {}'}}],
                "usage": CHAT_USAGE,
                "service_tier": "default",
            },
            indent=2,
        ).encode(),
        CHAT_UNITS,
    ),
    "chat stream": Answer(
        SSE,
        events(
            chunk({"role": "assistant", "content": ""}, usage=None),
            chunk({"content": '"usage": {"prompt_tokens": 0}'}, usage=None),
            chunk({"content": "Hello"}, usage=None),
            chunk({}, usage=None),
            chunk(None, usage=CHAT_USAGE),
            "[DONE]",
        ),
        CHAT_UNITS,
    ),
    "chat stream with usage in its last part": Answer(
        SSE, events(chunk({"content": "Hi"}), chunk({}, usage=CHAT_USAGE), "[DONE]"), CHAT_UNITS
    ),
    "chat stream with usage in every part": Answer(
        SSE,
        events(
            *[
                chunk({"content": "Hi"}, usage={"prompt_tokens": 19, "completion_tokens": n})
                for n in range(1, 11)
            ],
            "[DONE]",
        ),
        CHAT_UNITS,
    ),
    "chat stream with other line ends": Answer(
        SSE,
        events(chunk({"content": "Hi"}), chunk(None, usage=CHAT_USAGE), "[DONE]", end="\r\n\r\n"),
        CHAT_UNITS,
    ),
    "chat stream without a last empty line": Answer(
        SSE, events(chunk({"content": "Hi"}), chunk(None, usage=CHAT_USAGE)).rstrip(), CHAT_UNITS
    ),
    "chat stream with comments": Answer(
        SSE,
        b": OPENROUTER PROCESSING\n\n"
        + events(chunk({"content": "Hi"}))
        + b": ping\n\n"
        + events(chunk(None, usage=CHAT_USAGE), "[DONE]"),
        CHAT_UNITS,
    ),
    "embeddings": Answer(
        JSON,
        json.dumps(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.002, -0.009]}],
                "model": "text-embedding-3-small",
                "usage": {"prompt_tokens": 8, "total_tokens": 8},
            }
        ).encode(),
        {"input": 8},
    ),
    "response": Answer(JSON, json.dumps(RESPONSE).encode(), RESPONSE_UNITS),
    "response stream": Answer(
        SSE,
        events(
            {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "usage": None}},
            {"type": "response.output_text.delta", "delta": "In a"},
            {"type": "response.completed", "sequence_number": 9, "response": RESPONSE},
            named=True,
        ),
        RESPONSE_UNITS,
    ),
    "response stream that is incomplete": Answer(
        SSE,
        events({"type": "response.incomplete", "response": {**RESPONSE, "status": "incomplete"}}, named=True),
        RESPONSE_UNITS,
    ),
    "message": Answer(
        JSON,
        json.dumps(
            {
                "id": "msg_01",
                "type": "message",
                "content": [{"type": "text", "text": "Hi"}],
                "usage": {"input_tokens": 25, "cache_read_input_tokens": 7, "output_tokens": 15},
            }
        ).encode(),
        MESSAGE_UNITS,
    ),
    "message stream": Answer(
        SSE,
        events(MESSAGE_START, {"type": "ping"}, TEXT_DELTA, MESSAGE_DELTA, MESSAGE_STOP, named=True),
        MESSAGE_UNITS,
    ),
    "message stream that repeats the input": Answer(
        SSE,
        events(
            MESSAGE_START,
            TEXT_DELTA,
            {
                **MESSAGE_DELTA,
                "usage": {"input_tokens": 30, "cache_read_input_tokens": 7, "output_tokens": 15},
            },
            named=True,
        ),
        {"input": 30, "cached_input": 7, "output": 15},
    ),
    "gemini": Answer(JSON, json.dumps(GEMINI[-1]).encode(), GEMINI_UNITS),
    "gemini stream": Answer(SSE, events(*GEMINI, end="\r\n\r\n"), GEMINI_UNITS),
    "gemini stream as a list": Answer(JSON, json.dumps(GEMINI, indent=1).encode(), GEMINI_UNITS),
}
