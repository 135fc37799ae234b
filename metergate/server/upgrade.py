"""A connection becomes a WebSocket: uvicorn's protocol takes over, and the door goes on counting it."""

import asyncio
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


@cache
def _counted(kind: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """The protocol, saying when its connection is over. It hears nothing that comes too early."""

    class Counted(kind):  # type: ignore[valid-type,misc]  # whichever class uvicorn chose
        leave: Callable[[], None]

        def begin(self, head: bytes) -> None:
            super().data_received(head)

        def data_received(self, data: bytes) -> None:
            if getattr(self, "handshake_complete", True):
                super().data_received(data)
            else:  # frames before the answer to the handshake; uvicorn would fail over them
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self.leave()
            super().connection_lost(exc)

    return Counted


def to_websocket(
    transport: asyncio.Transport,
    config: "Config",
    state: "ServerState",
    app_state: dict[str, Any],
    head: bytes,
    leave: Callable[[], None],
) -> None:
    """Let the other protocol read the head."""
    kind = cast(Any, _counted(cast(Any, config.ws_protocol_class)))
    protocol = kind(config=config, server_state=state, app_state=app_state)
    protocol.leave = leave
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    protocol.begin(head)


def request_head(url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head once more, as it was read."""
    lines = [b"%b: %b\r\n" % pair for pair in headers]
    return b"".join([b"GET ", url, b" HTTP/1.1\r\n", *lines, b"\r\n"])
