"""One WebSocket on its way to an upstream: open when the upstream has opened it, until either side closes."""

import asyncio

from metergate.asgi.refuse import IN_A_SOCKET, answers_whole
from metergate.asgi.types import Receive, Scope, Send
from metergate.upstream import Handshake, Response, Socket, Way
from metergate.upstream.socket import ABNORMAL, GOING_AWAY, NO_STATUS, NORMAL

INTERNAL_ERROR = 1011
ANSWER_MAX = 65_536


class SocketForwarding:
    def __init__(self, way: Way, scope: Scope, receive: Receive, send: Send) -> None:
        self._way = way
        self._scope = scope
        self._receive = receive
        self._send = send

    async def run(self, head: bytes, handshake: Handshake) -> None:
        await self._receive()  # what wants to connect has to wait until the upstream has agreed
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
            headers = self._way.answers.read(response.headers)
            await self._send({"type": "websocket.accept", "subprotocol": chosen, "headers": headers})
            await self._talk(socket)
        finally:
            socket.close(GOING_AWAY)

    async def _decline(self, response: Response) -> None:
        """The upstream's own refusal is the answer, where the server can send one."""
        if not answers_whole(self._scope):
            response.abandon()
            await self._send({"type": "websocket.close", "code": NORMAL})
            return
        body = b""
        while len(body) <= ANSWER_MAX and (chunk := await response.read()):
            body += chunk
        response.abandon()
        headers = [pair for pair in self._way.answers.read(response.headers) if pair[0] != b"content-length"]
        kind = f"{IN_A_SOCKET}.response"
        await self._send({"type": f"{kind}.start", "status": response.status, "headers": headers})
        await self._send({"type": f"{kind}.body", "body": body[:ANSWER_MAX]})

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
        while (message := await self._receive())["type"] == "websocket.receive":
            text = message.get("text")
            await socket.send(message["bytes"] if text is None else text)
        socket.close(message.get("code", NO_STATUS), message.get("reason") or "")

    async def _down(self, socket: Socket) -> None:
        while (message := await socket.receive()) is not None:
            if isinstance(message, str):
                await self._send({"type": "websocket.send", "text": message})
            else:
                await self._send({"type": "websocket.send", "bytes": message})
        code, reason = socket.closing or (ABNORMAL, "")
        told = {NO_STATUS: NORMAL, ABNORMAL: INTERNAL_ERROR}.get(code, code)
        await self._send({"type": "websocket.close", "code": told, "reason": reason})
