"""What metergate does not do: look at the balance, and take from it a moment later."""

import asyncio

from metergate.asgi.types import ASGIApp, Receive, Scope, Send
from tests.servers.shared import reached

PRICE = 7
DATABASE_S = 0.1
"""How long such a middleware waits for its database."""


def beside(app: ASGIApp) -> ASGIApp:
    """The app, and under /naive calls that such a middleware lets through."""
    balances = {"left": 1000}

    async def with_naive(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/naive/"):
            await app(scope, receive, send)
            return
        status = 402
        if balances["left"] >= PRICE:
            await asyncio.sleep(DATABASE_S)
            reached[scope["path"]] += 1
            balances["left"] -= PRICE
            status = 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return with_naive
