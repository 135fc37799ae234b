"""A wire between clients and a server that loses what it is told to lose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple


class Fault(Enum):
    """What becomes of a request. All but a silence end the connection, as a network that fails does."""

    LOSE_REQUEST = auto()
    LOSE_REPLY = auto()
    HALF_REPLY = auto()
    SILENCE = auto()


class Trap(NamedTuple):
    sign: bytes
    fault: Fault
    sprung: asyncio.Event


class Wire:
    """Unix sockets on both sides. What is written at once is taken for one request."""

    def __init__(self, here: Path, server: Path) -> None:
        self.here = here
        self.refusing = False
        self.delay_s = 0.0
        self.serving: set[asyncio.Task[None]] = set()
        self._server = server
        self._traps: list[Trap] = []
        self._lines: set[asyncio.StreamWriter] = set()

    def trap(self, sign: bytes, fault: Fault) -> asyncio.Event:
        """The next request that holds these bytes meets the fault; the event says when it has."""
        trap = Trap(sign, fault, asyncio.Event())
        self._traps.append(trap)
        return trap.sprung

    def calm(self) -> None:
        """Lose nothing any more, and let everybody in."""
        self._traps.clear()
        self.delay_s, self.refusing = 0.0, False

    def cut(self) -> None:
        """End every connection that there is."""
        for writer in self._lines:
            writer.transport.abort()

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self.serving.add(serving)
        try:
            await self._serve(client, back)
        finally:
            self.serving.discard(serving)

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self.refusing:
            back.transport.abort()
            return
        try:
            server, on = await asyncio.open_unix_connection(self._server)
        except OSError:  # the server itself is away
            back.transport.abort()
            return
        meant: list[Fault] = []
        both = {back, on}
        self._lines |= both
        ways = [
            asyncio.create_task(self._up(client, on, meant)),
            asyncio.create_task(_down(server, back, meant)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._lines -= both
            for way in ways:
                way.cancel()
            for writer in both:
                writer.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _up(self, client: asyncio.StreamReader, on: asyncio.StreamWriter, meant: list[Fault]) -> None:
        with suppress(ConnectionError):
            while data := await client.read(1 << 20):
                fault = self._met(data)
                if fault is Fault.LOSE_REQUEST:
                    return
                if fault is not None:
                    meant.append(fault)
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                on.write(data)

    def _met(self, data: bytes) -> Fault | None:
        for trap in self._traps:
            if trap.sign in data:
                self._traps.remove(trap)
                trap.sprung.set()
                return trap.fault
        return None


async def _down(server: asyncio.StreamReader, back: asyncio.StreamWriter, meant: list[Fault]) -> None:
    with suppress(ConnectionError):
        while data := await server.read(1 << 20):
            if not meant:
                back.write(data)
            elif meant[-1] is not Fault.SILENCE:
                back.write(data[: len(data) // 2] if meant[-1] is Fault.HALF_REPLY else b"")
                await back.drain()
                return


@asynccontextmanager
async def wire(here: Path, server: Path) -> AsyncIterator[Wire]:
    laid = Wire(here, server)
    listening = await asyncio.start_unix_server(laid.serve, here, limit=1 << 20)
    try:
        yield laid
    finally:
        listening.close()
        laid.cut()
        await listening.wait_closed()
        if laid.serving:
            await asyncio.wait(laid.serving)
