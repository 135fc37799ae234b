"""Who asks, as an ASGI server knows it."""

from collections.abc import Awaitable

import msgspec

from metergate.asgi.token_holds import Stopped
from metergate.asgi.types import Headers, Message, Receive, Scope, Send

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
