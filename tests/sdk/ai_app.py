"""An AI API as the official SDKs call it, behind MeterGate; it counts what came over the wire."""

from collections import Counter
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from metergate import MeterGate
from metergate.asgi.types import Receive, Scope, Send

POLICY: dict[str, Any] = {
    "metergate": 1,
    "meters": {"requests": {"count": "calls"}, "yearly": {"count": "calls"}},
    "prices": {"requests": {"price": "0.01"}, "yearly": {"price": "0.01"}},
    "plans": {"free": {"included": {"yearly": {"units": 1, "every": "year"}}}},
    "default_plan": "free",
    "top_up_url": "https://pay.example/top-up",
    "routes": [
        {"match": "GET /public/seen", "public": True},
        {"match": "* /yearly/**", "meter": "yearly"},
        {"match": "* /**", "meter": "requests"},
    ],
}

came: Counter[str] = Counter()
"""Requests by path and method, before anybody decided about them."""


async def completion(request: Request) -> Response:
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return JSONResponse(
        {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    )


async def message(request: Request) -> Response:
    return JSONResponse(
        {
            "id": "m1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": "hello"}],
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    )  # fmt: skip


async def seen(request: Request) -> Response:
    return JSONResponse(came)


metered = MeterGate(
    Starlette(
        routes=[
            Route("/{any:path}/chat/completions", completion, methods=["POST"]),
            Route("/chat/completions", completion, methods=["POST"]),
            Route("/v1/messages", message, methods=["POST"]),
            Route("/{any:path}/v1/messages", message, methods=["POST"]),
            Route("/public/seen", seen),
        ]
    ),
    POLICY,
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        came[scope["path"]] += 1
    await metered(scope, receive, send)
