"""The `send` of a stream out of which the usage is taken that its client did not ask for."""

from collections.abc import Awaitable

from metergate.asgi.types import Message, Send
from metergate.meters.encodings import encodings
from metergate.meters.include_usage import Hiding
from metergate.meters.watched import is_stream

LENGTH = b"content-length"


class Hidden:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._hiding: Hiding | None = None

    def __call__(self, message: Message) -> Awaitable[None]:
        if self._hiding is not None and message["type"] == "http.response.body":
            return self._body(message, self._hiding)
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            if message["status"] == 200 and is_stream(headers) and not encodings(headers):
                self._hiding = Hiding()
                shorter = [(name, value) for name, value in headers if name.lower() != LENGTH]
                message = {**message, "headers": shorter}
        return self._send(message)

    def _body(self, message: Message, hiding: Hiding) -> Awaitable[None]:
        chunk, more = message.get("body", b""), message.get("more_body", False)
        shown = hiding.feed(chunk) if more else hiding.feed(chunk) + hiding.end()
        if shown or not more:
            return self._send(message if shown is chunk else {**message, "body": shown})
        return _nothing()


async def _nothing() -> None:
    """The chunk waits for its rest, or is not for the client."""
