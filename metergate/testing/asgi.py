"""An ASGI server in memory: one request or one WebSocket, every message seen at the moment the app sends it.

async with Request(app, "GET", "/stream") as request:
    assert await request.status() == 200
    assert await request.chunk() == b"first"    # and the app has not made the second yet
    request.disconnect()

answer = await fetch(app, "POST", "/v1/chat", headers={"authorization": "Bearer mg_…"}, body=b"{}")
assert answer.status == 200
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HeaderPairs = Mapping[str, str] | Iterable[tuple[str, str]]
RawHeaders = list[tuple[bytes, bytes]]

NORMAL_CLOSURE = 1000


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: RawHeaders
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header; several are joined, as HTTP allows."""
        wanted = name.lower().encode("latin-1")
        found = [value.decode("latin-1") for each, value in self.headers if each.lower() == wanted]
        return ", ".join(found) if found else None

    def json(self) -> Any:
        return json.loads(self.body)


async def fetch(
    app: App, method: str, target: str, *, headers: HeaderPairs = (), body: bytes = b"", **more: Any
) -> Answer:
    """The whole answer to one request."""
    async with Request(app, method, target, headers=headers, body=body, **more) as request:
        return Answer(await request.status(), request.headers, await request.read())


class _Conversation:
    """One run of the app, and the messages that go both ways."""

    def __init__(self, app: App, scope: Scope) -> None:
        self.scope = scope
        self._app = app
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()
        if kind is None:
            await self.ended()
        elif self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def ended(self) -> None:
        """Wait until the app has returned; what it raised is raised here."""
        if self._task is not None:
            await self._task

    def disconnect(self) -> None:
        raise NotImplementedError

    async def _run(self) -> None:
        try:
            await self._app(self.scope, self._to_app.get, self._send)
        finally:
            self._from_app.put_nowait(None)

    async def _send(self, message: Message) -> None:
        self._from_app.put_nowait(message)

    async def _next(self, *types: str) -> Message | None:
        """The next message of the app, which must be of one of the types; None when it has returned."""
        message = await self._from_app.get()
        if message is None:
            self._from_app.put_nowait(None)
            await self.ended()
        elif message["type"] not in types:
            raise AssertionError(f"The app sent {message['type']} where {' or '.join(types)} is due.")
        return message


class Request(_Conversation):
    """One HTTP request. With `body=None` its body is sent piece by piece with `send`."""

    def __init__(
        self,
        app: App,
        method: str,
        target: str,
        *,
        headers: HeaderPairs = (),
        body: bytes | None = b"",
        root_path: str = "",
        client: tuple[str, int] | None = ("127.0.0.1", 50_000),
    ) -> None:
        scope = _scope("http", target, headers, root_path, client)
        super().__init__(app, {**scope, "method": method, "scheme": "http"})
        self.headers: RawHeaders = []
        self.finished = False
        """Whether the app has sent the last of the body."""
        self._status: int | None = None
        if body is not None:
            self.send(body, more=False)

    def send(self, chunk: bytes, *, more: bool = True) -> None:
        self._to_app.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    def disconnect(self) -> None:
        """The client goes away."""
        self._to_app.put_nowait({"type": "http.disconnect"})

    async def status(self) -> int:
        """The status, as soon as the app has sent it."""
        if self._status is None:
            message = await self._next("http.response.start")
            if message is None:
                raise AssertionError("The app returned without an answer.")
            self._status = int(message["status"])
            self.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        return self._status

    async def chunk(self) -> bytes | None:
        """The next part of the body as the app sent it; None after the last."""
        await self.status()
        if self.finished:
            return None
        message = await self._next("http.response.body")
        if message is None:
            raise AssertionError("The app returned before the end of the body.")
        self.finished = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    async def read(self) -> bytes:
        """The rest of the body."""
        parts = []
        while (part := await self.chunk()) is not None:
            parts.append(part)
        return b"".join(parts)

    async def _send(self, message: Message) -> None:
        await super()._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.disconnect()


class WebSocket(_Conversation):
    """One WebSocket, connected as soon as it is entered."""

    def __init__(
        self,
        app: App,
        target: str,
        *,
        headers: HeaderPairs = (),
        subprotocols: Iterable[str] = (),
        root_path: str = "",
        client: tuple[str, int] | None = ("127.0.0.1", 50_000),
    ) -> None:
        scope = _scope("websocket", target, headers, root_path, client)
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        more = {"scheme": "ws", "subprotocols": list(subprotocols), "extensions": extensions}
        super().__init__(app, {**scope, **more})
        self.close_code: int | None = None
        """With what the app closed; None while it has not."""
        self._to_app.put_nowait({"type": "websocket.connect"})

    async def accepted(self) -> Answer | None:
        """None when the app accepts; otherwise its refusal (a bare close is a 403)."""
        message = await self._next("websocket.accept", "websocket.close", "websocket.http.response.start")
        if message is None or message["type"] == "websocket.close":
            self.close_code = int(message.get("code", NORMAL_CLOSURE)) if message else None
            return Answer(403, [], b"")
        if message["type"] == "websocket.accept":
            return None
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        return Answer(int(message["status"]), headers, await self._refusal())

    async def _refusal(self) -> bytes:
        body = b""
        while (message := await self._next("websocket.http.response.body")) is not None:
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return body

    def send(self, data: str | bytes) -> None:
        kind = "text" if isinstance(data, str) else "bytes"
        self._to_app.put_nowait({"type": "websocket.receive", kind: data})

    async def receive(self) -> str | bytes | None:
        """The next message of the app; None when it has closed or returned."""
        message = await self._next("websocket.send", "websocket.close")
        if message is None:
            return None
        if message["type"] == "websocket.close":
            self.close_code = int(message.get("code", NORMAL_CLOSURE))
            return None
        text = message.get("text")
        return str(text) if text is not None else bytes(message["bytes"])

    def disconnect(self, code: int = NORMAL_CLOSURE) -> None:
        """The client closes, or is gone (1006)."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": code})


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[Scope]:
    """The app between its start-up and its shutdown; the `state` of the scope is what the app put there."""
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    life = _Lifespan(app, scope)
    async with life:
        await life.turn("startup")
        yield scope
        await life.turn("shutdown")


class _Lifespan(_Conversation):
    async def turn(self, step: str) -> None:
        self._to_app.put_nowait({"type": f"lifespan.{step}"})
        message = await self._next(f"lifespan.{step}.complete", f"lifespan.{step}.failed")
        if message is not None and message["type"].endswith("failed"):
            raise AssertionError(f"The {step} of the app failed: {message.get('message', '')}")

    def disconnect(self) -> None:
        """A lifespan ends with its shutdown."""


def _scope(
    kind: str, target: str, headers: HeaderPairs, root_path: str, client: tuple[str, int] | None
) -> Scope:
    raw_path, _, query = target.partition("?")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    if not any(name == b"host" for name, _ in raw):
        raw.insert(0, (b"host", b"testserver"))
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": root_path,
        "headers": raw,
        "client": client,
        "server": ("testserver", 80),
        "state": {},
    }
