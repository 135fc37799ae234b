"""The fake API as an ASGI app that keeps a journal of what it was asked."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from metergate.testing.asgi import Message, Receive, Scope, Send
from metergate.testing.fake_ai import apis
from metergate.testing.fake_ai.apis import Answer
from metergate.testing.fake_ai.faults import Faults, announced, faults, pieces

HEADER = b"x-fake"
JOURNAL = "/fake/journal"

Api = Callable[[Mapping[str, Any], Faults], Answer]
APIS: Mapping[str, Api] = {
    "chat/completions": apis.chat,
    "embeddings": apis.embeddings,
    "responses": apis.responses,
    "images/generations": apis.images,
    "models": apis.models,
    "messages": apis.messages,
    "mcp": apis.tools,
}
_GEMINI = re.compile(r"/models/([^/:]+):(generateContent|streamGenerateContent)\Z")


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


class FakeAI:
    def __init__(self) -> None:
        self.journal: list[Asked] = []
        self.served = 0
        """How many answers were told to their end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        asked = await _heard(scope, receive)
        if asked is None:
            return
        if asked.path == JOURNAL:
            await self._tell_journal(send)
            return
        self.journal.append(asked)
        wrong = faults(dict(asked.headers).get(HEADER, b"").decode())
        if "status" in wrong:
            await _fail(send, asked.path, int(wrong["status"]))
            return
        answer = _answer(asked, scope.get("query_string", b""), wrong)
        if answer is None:
            await _fail(send, asked.path, 404)
        else:
            await _say(send, answer, wrong)
            self.served += 1

    async def _tell_journal(self, send: Send) -> None:
        told = [
            {"method": each.method, "path": each.path, "body": each.body.decode("latin-1")}
            for each in self.journal
        ]
        await _whole(send, 200, json.dumps({"served": self.served, "asked": told}).encode())


def _answer(asked: Asked, query: bytes, wrong: Faults) -> Answer | None:
    try:
        said = json.loads(asked.body or b"{}")
    except ValueError:
        return None
    found = _GEMINI.search(asked.path)
    if found is not None:
        stream = found[2] == "streamGenerateContent"
        return apis.gemini(said, wrong, found[1], stream=stream, events=b"alt=sse" in query)
    api = next((api for path, api in APIS.items() if asked.path.endswith(f"/{path}")), None)
    return None if api is None else api(said, wrong)


async def _heard(scope: Scope, receive: Receive) -> Asked | None:
    """The whole request; None when the client left before its end."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return Asked(scope["method"], scope["path"], list(scope["headers"]), body)


async def _say(send: Send, answer: Answer, wrong: Faults) -> None:
    kind = b"text/event-stream" if answer.stream else b"application/json"
    headers = [(b"content-type", kind)]
    if len(answer.pieces) == 1:
        headers.append((b"content-length", b"%d" % announced(answer.pieces[0], wrong)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for piece in pieces(answer.pieces, wrong):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _fail(send: Send, path: str, status: int) -> None:
    maker = "anthropic" if path.endswith("/messages") else "gemini" if _GEMINI.search(path) else "openai"
    await _whole(send, status, apis.error(maker, status))


async def _whole(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        message: Message = {"type": f"lifespan.{step}.complete"}
        await send(message)
