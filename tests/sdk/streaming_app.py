"""An AI API that also streams, behind MeterGate; it tells how often each key asked, outside and inside."""

import json
from collections import Counter
from typing import Any

from metergate import MeterGate, current
from metergate.asgi.types import ASGIApp, Receive, Scope, Send

POLICY = {
    "metergate": 1,
    "meters": {"calls": {"count": "calls"}},
    "prices": {"calls": {"price": "0.01"}},
    "plans": {
        "chat": {"features": ["chat"]},
        "bare": {"features": []},
        "once": {"features": ["chat"], "caps": [{"units": 1, "meter": "calls", "every": "year"}]},
    },
    "default_plan": "chat",
    "top_up_url": "https://pay.example/top-up",
    "routes": [
        {"match": "GET /public/seen", "public": True},
        {"match": "POST /v1/**", "meter": "calls", "feature": "chat"},
    ],
}
JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream")

outside: Counter[str] = Counter()
"""Requests that came from the network, by the last characters of their key."""
inside: Counter[str] = Counter()
"""Requests that reached the app, by account."""

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "small",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def completion_pieces() -> list[bytes]:
    """A completion in two server-sent events."""
    found = []
    for text in ("Hel", "lo"):
        choices = [{"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": text}}]
        found.append({**COMPLETION, "object": "chat.completion.chunk", "choices": choices})
    return [*[b"data: %s\n\n" % json.dumps(each).encode() for each in found], b"data: [DONE]\n\n"]


def message_pieces() -> list[bytes]:
    """A message in the events of Anthropic's streams."""
    begun = {**MESSAGE, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events]


async def ai(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    if scope["path"] == "/public/seen":
        await answer(send, JSON, [json.dumps({"outside": outside, "inside": inside}).encode()])
        return
    inside[current.account] += 1
    asked = json.loads(await body(receive))
    whole, parts = (
        (MESSAGE, message_pieces()) if scope["path"] == "/v1/messages" else (COMPLETION, completion_pieces())
    )
    if asked.get("stream"):
        await answer(send, EVENTS, parts)
    else:
        await answer(send, JSON, [json.dumps(whole).encode()])


async def body(receive: Receive) -> bytes:
    found, more = b"", True
    while more:
        message = await receive()
        found += message.get("body", b"")
        more = message.get("more_body", False)
    return found


async def answer(send: Send, kind: tuple[bytes, bytes], parts: list[bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [kind]})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def counting(metered: ASGIApp) -> ASGIApp:
    """Sees every request before the gate does."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name in (b"authorization", b"x-api-key"):
                    outside[value.decode()[-6:]] += 1
        await metered(scope, receive, send)

    return app


app = counting(MeterGate(ai, POLICY))
