"""The answers of three makers' APIs: a body, or the events of a stream, with the usage in its place."""

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metergate.testing.fake_ai.faults import Faults
from metergate.testing.fake_ai.faults import usage as spoilt
from metergate.testing.fake_ai.said import Turn, turn

CREATED = 1_760_000_000
DONE = b"data: [DONE]\n\n"
DIMENSIONS = 8
PIXEL = base64.b64encode(b"\x89PNG fake").decode()
ERROR = "The model is overloaded; this is a fake error that was asked for."

Value = Mapping[str, Any]


class Answer(NamedTuple):
    """Events where it streams, else one body."""

    pieces: Sequence[bytes]
    stream: bool = False


def dump(value: Value, usage: Value | None, faults: Faults) -> bytes:
    """JSON, with the usage in it as the faults will have it."""
    text = json.dumps(value, separators=(",", ":"))
    if usage is None or "usage" not in faults:
        return text.encode()
    whole = json.dumps(usage, separators=(",", ":"))
    how = faults["usage"]
    for name in ("usage", "usageMetadata"):
        member = f'"{name}":{whole}'
        changed = {"none": f'"{name}":null', "twice": f"{member},{member}"}
        text = text.replace(member, changed.get(how, f'"{name}":{spoilt(whole, how)}'))
    return text.encode()


def event(value: bytes, name: str = "") -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + value + b"\n\n"


# -- OpenAI ------------------------------------------------------------------------------------------------


def chat(said: Value, faults: Faults) -> Answer:
    now = turn(said)
    usage = {
        "prompt_tokens": now.prompt,
        "completion_tokens": now.output,
        "total_tokens": now.prompt + now.output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    head = {"id": "chatcmpl-fake", "created": CREATED, "model": now.model, "service_tier": "default"}
    if not now.stream:
        message = {"role": "assistant", "content": now.text, "refusal": None}
        choices = [
            {"index": n, "message": message, "logprobs": None, "finish_reason": "stop"}
            for n in range(now.choices)
        ]
        body = {**head, "object": "chat.completion", "choices": choices, "usage": usage}
        return Answer([dump(body, usage, faults)])
    asked = bool((said.get("stream_options") or {}).get("include_usage"))
    return Answer(
        _chat_events(now, {**head, "object": "chat.completion.chunk"}, usage if asked else None, faults), True
    )


def _chat_events(now: Turn, head: Value, usage: Value | None, faults: Faults) -> list[bytes]:
    more = {} if usage is None else {"usage": None}

    def chunk(delta: Value, reason: str | None = None) -> bytes:
        choices = [
            {"index": n, "delta": delta, "logprobs": None, "finish_reason": reason}
            for n in range(now.choices)
        ]
        return event(dump({**head, "choices": choices, **more}, None, faults))

    events = [chunk({"role": "assistant", "content": ""}), *[chunk({"content": part}) for part in now.parts]]
    if "error" in faults:
        return [*events[: len(events) // 2], event(error("openai"))]
    events.append(chunk({}, "stop"))
    if usage is not None and faults.get("usage") != "none":
        value = {**head, "choices": [], "usage": usage}
        twice = faults.get("usage") == "twice"
        events += [event(dump(value, None, faults))] * 2 if twice else [event(dump(value, usage, faults))]
    return [*events, DONE]


def embeddings(said: Value, faults: Faults) -> Answer:
    now = turn(said)
    usage = {"prompt_tokens": now.prompt, "total_tokens": now.prompt}
    numbers = [0.5] * DIMENSIONS
    found: object = numbers
    if said.get("encoding_format") == "base64":
        found = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *numbers)).decode()
    given = said.get("input")
    count = len(given) if isinstance(given, list) else 1
    data = [{"object": "embedding", "index": n, "embedding": found} for n in range(count)]
    return Answer([dump({"object": "list", "data": data, "model": now.model, "usage": usage}, usage, faults)])


def responses(said: Value, faults: Faults) -> Answer:
    now = turn(said)
    usage = {
        "input_tokens": now.prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": now.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": now.prompt + now.output,
    }
    part = {"type": "output_text", "text": now.text, "annotations": [], "logprobs": []}
    item = {
        "id": "msg_fake",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    done = {
        "id": "resp_fake", "object": "response", "created_at": CREATED, "status": "completed", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": said.get("metadata") or {},
        "model": now.model, "output": [item], "parallel_tool_calls": True, "temperature": 1.0,
        "tool_choice": "auto", "tools": said.get("tools") or [], "top_p": 1.0, "usage": usage,
    }  # fmt: skip
    if not now.stream:
        return Answer([dump(done, usage, faults)])
    begun = {**done, "status": "in_progress", "output": [], "usage": None}
    values: list[Value] = [{"type": "response.created", "response": begun}]
    place = {"item_id": "msg_fake", "output_index": 0, "content_index": 0}
    values += [
        {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []} for text in now.parts
    ]
    if "error" in faults:
        values = values[: len(values) // 2]
    else:
        values.append({"type": "response.completed", "response": done})
    numbered = [{**value, "sequence_number": number} for number, value in enumerate(values)]
    events = [event(dump(value, usage, faults), value["type"]) for value in numbered]
    return Answer([*events, event(error("openai"))] if "error" in faults else events, True)


def images(said: Value, faults: Faults) -> Answer:
    data = [{"b64_json": PIXEL} for _ in range(said.get("n") or 1)]
    return Answer([dump({"created": CREATED, "data": data}, None, faults)])


def models(_: Value, faults: Faults) -> Answer:
    data = [{"id": "fake", "object": "model", "created": CREATED, "owned_by": "nobody"}]
    return Answer([dump({"object": "list", "data": data}, None, faults)])


def tools(said: Value, faults: Faults) -> Answer:
    """A server of tools that knows every tool."""
    result = {"content": [{"type": "text", "text": "done"}], "isError": False}
    return Answer([dump({"jsonrpc": "2.0", "id": said.get("id"), "result": result}, None, faults)])


# -- Anthropic ---------------------------------------------------------------------------------------------


def messages(said: Value, faults: Faults) -> Answer:
    now = turn(said)
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    usage = {"input_tokens": now.prompt, **cached, "output_tokens": now.output}
    body = {
        "id": "msg_fake", "type": "message", "role": "assistant", "model": now.model,
        "content": [{"type": "text", "text": now.text}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": usage,
    }  # fmt: skip
    if not now.stream:
        return Answer([dump(body, usage, faults)])
    before = {**usage, "output_tokens": 1}
    begun = {**body, "content": [], "stop_reason": None, "usage": before}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in now.parts
    ]
    after = {"output_tokens": now.output}
    values: list[tuple[Value, Value | None]] = [
        ({"type": "message_start", "message": begun}, before),
        ({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, None),
        ({"type": "ping"}, None),
        *[(delta, None) for delta in deltas],
        ({"type": "content_block_stop", "index": 0}, None),
        (
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": after,
            },
            after,
        ),
        ({"type": "message_stop"}, None),
    ]
    events = [event(dump(value, part, faults), value["type"]) for value, part in values]
    if "error" in faults:
        events = [*events[: len(events) // 2], event(error("anthropic"), "error")]
    return Answer(events, True)


# -- Gemini ------------------------------------------------------------------------------------------------


def gemini(said: Value, faults: Faults, model: str, *, stream: bool, events: bool) -> Answer:
    now = turn(said, model, stream=stream)
    parts = now.parts if stream else [now.text]
    found = []
    for place, text in enumerate(parts):
        output = place + 1 if stream else now.output
        usage = {
            "promptTokenCount": now.prompt,
            "candidatesTokenCount": output,
            "totalTokenCount": now.prompt + output,
        }
        reason = {"finishReason": "STOP"} if place == len(parts) - 1 else {}
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **reason}
        value = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": now.model}
        found.append(dump(value, usage, faults))
    if "error" in faults and stream:
        found = [*found[: len(found) // 2], error("gemini")]
    if not stream:
        return Answer(found)
    if events:
        return Answer([event(each).replace(b"\n", b"\r\n") for each in found], True)
    begun = [b"[", *[b",\r\n"] * (len(found) - 1)]
    return Answer([before + each for before, each in zip(begun, found, strict=True)] + [b"]"])


def error(maker: str, status: int = 503) -> bytes:
    """An error in the words of a maker."""
    forms: Mapping[str, Value] = {
        "openai": {"error": {"message": ERROR, "type": "server_error", "param": None, "code": None}},
        "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": ERROR}},
        "gemini": {"error": {"code": status, "message": ERROR, "status": "UNAVAILABLE"}},
    }
    return json.dumps(forms[maker]).encode()
