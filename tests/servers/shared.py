"""What the served apps have in common: the policy, signals that a client gives, and what reached them."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

from metergate.asgi.types import ASGIApp, Receive, Scope, Send

POLICY: dict[str, Any] = {
    "metergate": 1,
    "meters": {
        "requests": {"count": "calls"},
        "messages": {"count": "messages"},
        "ones": {"count": "calls"},
        "sevens": {"count": "calls"},
    },
    "prices": {
        "requests": {"price": "0.01"},
        "messages": {"price": "0.01"},
        "ones": {"price": "1"},
        "sevens": {"price": "7"},
    },
    "routes": [
        {"match": "* /public/**", "public": True},
        {"match": "* /naive/**", "public": True},
        {"match": "* /bare/**", "public": True},
        {"match": "* /free/**", "free": True},
        {"match": "GET /ws", "meter": "messages", "hold": {"units": 2}},
        {"match": "* /ones/**", "meter": "ones"},
        {"match": "* /sevens/**", "meter": "sevens"},
        {"match": "* /**", "meter": "requests"},
    ],
}

signals: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
reached: Counter[str] = Counter()
"""How many calls the app has seen, by path."""


async def chunks(name: str) -> AsyncIterator[bytes]:
    """The second chunk does not exist before the client asks for it."""
    yield b"first"
    await signals[name].wait()
    yield b"second"


def beside_itself(metered: ASGIApp, bare: ASGIApp) -> ASGIApp:
    """The metered app, and under /bare the same app without its gate."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/bare/"):
            inner = {**scope, "path": scope["path"][5:], "raw_path": scope["raw_path"][5:]}
            await bare(inner, receive, send)
        else:
            await metered(scope, receive, send)

    return app
