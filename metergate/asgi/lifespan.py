"""Starting and stopping with the app's own lifespan, or in its place where the app has none."""

import logging
from typing import Protocol

from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from metergate.errors import MetergateError

log = logging.getLogger("metergate")

STARTUP, SHUTDOWN = "lifespan.startup", "lifespan.shutdown"
ENDS = frozenset({f"{SHUTDOWN}.complete", f"{SHUTDOWN}.failed", f"{STARTUP}.failed"})


class Startable(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def with_lifespan(app: ASGIApp, engine: Startable, scope: Scope, receive: Receive, send: Send) -> None:
    """Be ready before the app's startup, and stop when its shutdown is complete."""
    life = _Lifespan(engine, receive, send)
    try:
        await app(scope, life.receive, life.send)
    except Exception:  # apps without a lifespan refuse it in their own ways
        if life.begun:
            await engine.stop()
            raise
        if not life.over:
            log.debug("The app knows no lifespan; metergate starts and stops by itself.", exc_info=True)
    await life.stand_in()


class _Lifespan:
    """The messages between the server and the app, and how far they have come."""

    def __init__(self, engine: Startable, receive: Receive, send: Send) -> None:
        self._engine = engine
        self._receive = receive
        self._send = send
        self._heard = False
        self.begun = False
        """Whether the startup is complete."""
        self.over = False
        """Whether the server was told of an end, good or bad."""

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == STARTUP:
            self._heard = True
            await self._start()
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if not kind.startswith("lifespan."):
            raise RuntimeError("The app answered its lifespan as if it were a request.")
        if self.over:
            return
        if kind in ENDS:
            self.over = True
            await self._engine.stop()
        self.begun = self.begun or kind == f"{STARTUP}.complete"
        await self._send(message)

    async def stand_in(self) -> None:
        """Say what the app did not say."""
        if self.over:
            return
        if not self._heard:
            try:
                await self.receive()
            except MetergateError:
                return
        if not self.begun:
            await self.send({"type": f"{STARTUP}.complete"})
        await self._receive()
        await self.send({"type": f"{SHUTDOWN}.complete"})

    async def _start(self) -> None:
        try:
            await self._engine.start()
        except MetergateError as error:
            await self.send({"type": f"{STARTUP}.failed", "message": str(error)})
            raise
