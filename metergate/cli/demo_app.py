"""The app that the demo sells: something like an AI service, without one behind it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from metergate.asgi.types import ASGIApp, Receive, Scope, Send
from metergate.bootstrap import MeterGate

POLICY = Path(__file__).with_name("demo.yaml")
Reply = Callable[[Send], Awaitable[None]]
WORDS = ["Every", "call", "is", "paid", "for", "before", "it", "is", "served."]
TOKENS = 25


def metered() -> ASGIApp:
    """The app behind its gate, as the environment sets it."""
    return MeterGate(app, POLICY)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    replies: dict[str, Reply] = {"/v1/chat/completions": _completion, "/v1/stream": _stream}
    await replies.get(scope["path"], _greeting)(send)


async def _lifespan(receive: Receive, send: Send) -> None:
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})


async def _greeting(send: Send) -> None:
    await _answer(send, {"service": "metergate demo", "paid": ["/v1/chat/completions", "/v1/stream"]})


async def _completion(send: Send) -> None:
    message = {"role": "assistant", "content": " ".join(WORDS)}
    usage = {"prompt_tokens": 8, "completion_tokens": TOKENS - 8, "total_tokens": TOKENS}
    await _answer(send, {"object": "chat.completion", "choices": [{"message": message}], "usage": usage})


async def _answer(send: Send, told: object) -> None:
    body = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for word in WORDS:
        event = b"data: " + json.dumps({"delta": word}).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
