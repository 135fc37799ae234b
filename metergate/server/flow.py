"""Neither direction goes faster than it is taken."""

import asyncio
from collections.abc import Awaitable


class Flow(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reading = True
        self._blocked: asyncio.Future[None] | None = None

    def pause_writing(self) -> None:
        if self._blocked is None:
            self._blocked = self._loop.create_future()

    def resume_writing(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    def writable(self) -> Awaitable[None] | None:
        """What to wait for before more is written; None when there is room."""
        return self._blocked

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()
