"""Starting and stopping with the app's own lifespan."""

from typing import Protocol

from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from metergate.errors import MetergateError


class Startable(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def with_lifespan(app: ASGIApp, engine: Startable, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass the app's lifespan on; be ready before its startup, and stop when its shutdown is complete."""

    async def receive_started() -> Message:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await _start(engine, send)
        return message

    async def send_stopped(message: Message) -> None:
        if message["type"] in (
            "lifespan.shutdown.complete",
            "lifespan.shutdown.failed",
            "lifespan.startup.failed",
        ):
            await engine.stop()
        await send(message)

    await app(scope, receive_started, send_stopped)


async def _start(engine: Startable, send: Send) -> None:
    try:
        await engine.start()
    except MetergateError as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
