"""One WebSocket on its way to an upstream: open when the upstream has opened it, until either side closes."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from metergate.upstream.response import Headers, Response
from metergate.upstream.socket import ABNORMAL, GOING_AWAY, NO_STATUS, NORMAL, Closing, Handshake, Socket
from metergate.upstream.ways import Way

INTERNAL_ERROR = 1011
ANSWER_MAX = 65_536


class SocketCaller(Protocol):
    """Who asks for a WebSocket, as a front knows it. An OSError of its methods may say that it has left."""

    @property
    def takes_answers(self) -> bool:
        """Whether it can be told the upstream's own refusal instead of a close."""

    def accept(self, subprotocol: str | None, headers: Headers) -> Awaitable[None]: ...

    def decline(self, status: int, headers: Headers, body: bytes) -> Awaitable[None]: ...

    def hear(self) -> Awaitable[str | bytes | Closing]:
        """The next message, or how the caller has closed."""

    def say(self, message: str | bytes) -> Awaitable[None]: ...

    def close(self, closing: Closing) -> Awaitable[None]: ...


class SocketForwarding:
    def __init__(self, way: Way, caller: SocketCaller) -> None:
        self._way = way
        self._caller = caller

    async def run(self, head: bytes, handshake: Handshake) -> None:
        pool = self._way.pool
        connection = pool.take() or await pool.connect()
        response = connection.send(head + handshake.lines, pool.pulse.now, upgrades=True)
        try:
            await response.begun()
            if response.status != 101:
                await self._decline(response)
                return
            chosen = handshake.chosen(response)
            socket = pool.talk(connection, response.rest)
        except BaseException:
            response.abandon()
            raise
        try:
            await self._caller.accept(chosen, self._way.answers.read(response.headers))
            await self._talk(socket)
        finally:
            socket.close(GOING_AWAY)

    async def _decline(self, response: Response) -> None:
        """The upstream's own refusal is the answer, where the caller can be told one."""
        if not self._caller.takes_answers:
            response.abandon()
            await self._caller.close(Closing(NORMAL))
            return
        body = b""
        while len(body) <= ANSWER_MAX and (chunk := await response.read()):
            body += chunk
        response.abandon()
        headers = [pair for pair in self._way.answers.read(response.headers) if pair[0] != b"content-length"]
        await self._caller.decline(response.status, headers, body[:ANSWER_MAX])

    async def _talk(self, socket: Socket) -> None:
        """Pass messages in both directions until one side has closed."""
        loop = asyncio.get_running_loop()
        both = {loop.create_task(self._up(socket)), loop.create_task(self._down(socket))}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            found = await asyncio.gather(*both, return_exceptions=True)
        for error in found:
            # A client that has left makes sending an OSError on some servers.
            if isinstance(error, Exception) and not isinstance(error, OSError):
                raise error

    async def _up(self, socket: Socket) -> None:
        while not isinstance(message := await self._caller.hear(), Closing):
            await socket.send(message)
        socket.close(*message)

    async def _down(self, socket: Socket) -> None:
        while (message := await socket.receive()) is not None:
            await self._caller.say(message)
        code, reason = socket.closing or (ABNORMAL, "")
        told = {NO_STATUS: NORMAL, ABNORMAL: INTERNAL_ERROR}.get(code, code)
        await self._caller.close(Closing(told, reason))
