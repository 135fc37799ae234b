"""Neither direction goes faster than it is taken."""

import asyncio


class Flow(asyncio.Protocol):
    # There is one for every open connection, hence the slots, here and below.
    __slots__ = ("_loop", "_reading", "blocked", "transport")

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reading = True
        self.blocked: asyncio.Future[None] | None = None
        """What to wait for before more is written; None when there is room."""

    def pause_writing(self) -> None:
        if self.blocked is None:
            self.blocked = self._loop.create_future()

    def resume_writing(self) -> None:
        blocked, self.blocked = self.blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()
