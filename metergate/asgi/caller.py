"""Who asks, and who wants a WebSocket, as an ASGI server knows them."""

from collections.abc import Awaitable

import msgspec

from metergate.asgi.refuse import IN_A_SOCKET, answers_whole
from metergate.asgi.token_holds import Stopped
from metergate.asgi.types import Headers, Message, Receive, Scope, Send
from metergate.upstream.socket import NO_STATUS, Closing

TRAILERS = "http.response.trailers"


class AsgiCaller(msgspec.Struct, eq=False):
    """A struct, because one is made for every call."""

    scope: Scope
    receive: Receive
    send: Send

    @property
    def wants_head(self) -> bool:
        return bool(self.scope["method"] == "HEAD")

    @property
    def frames(self) -> bool:
        return bool(self.scope["http_version"][:1] == "1")

    @property
    def takes_trailers(self) -> bool:
        return TRAILERS in (self.scope.get("extensions") or ())

    async def hear(self) -> tuple[bytes, bool] | None:
        message = await self.receive()
        if message["type"] != "http.request":
            return None
        return message.get("body", b""), message.get("more_body", False)

    def begin(self, status: int, headers: Headers, *, trailers: bool) -> Awaitable[None]:
        start: Message = {"type": "http.response.start", "status": status, "headers": headers}
        if trailers:
            start["trailers"] = True
        return self.send(start)

    def say(self, body: bytes, *, more: bool) -> Awaitable[None]:
        return self.send({"type": "http.response.body", "body": body, "more_body": more})

    def trail(self, headers: Headers) -> Awaitable[None]:
        return self.send({"type": TRAILERS, "headers": headers, "more_trailers": False})

    def stopped(self, error: OSError) -> bool:
        return isinstance(error, Stopped)


class AsgiSocketCaller:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.takes_answers = answers_whole(scope)

    def accept(self, subprotocol: str | None, headers: Headers) -> Awaitable[None]:
        return self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})

    async def decline(self, status: int, headers: Headers, body: bytes) -> None:
        await self._send({"type": f"{IN_A_SOCKET}.response.start", "status": status, "headers": headers})
        await self._send({"type": f"{IN_A_SOCKET}.response.body", "body": body})

    async def hear(self) -> str | bytes | Closing:
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return Closing(message.get("code", NO_STATUS), message.get("reason") or "")
        text = message.get("text")
        found: str | bytes = message["bytes"] if text is None else text
        return found

    def say(self, message: str | bytes) -> Awaitable[None]:
        kind = "text" if isinstance(message, str) else "bytes"
        return self._send({"type": "websocket.send", kind: message})

    def close(self, closing: Closing) -> Awaitable[None]:
        return self._send({"type": "websocket.close", "code": closing.code, "reason": closing.reason})
