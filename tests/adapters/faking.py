"""What stand-ins of providers have in common: HTTP on loopback, and faults on demand."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED

Json = dict[str, Any]
SILENT = "silent"
"""It is done, and who asked hears nothing for as long as he waits."""


class Asked(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"null")


class Told(NamedTuple):
    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """An answer that is no success, raised where it is found."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.told = Told(status, body)


class FakeServer:
    """Answers HTTP with a function; `writes` says which requests change something, and so have faults."""

    def __init__(self, answer: Callable[[Asked], Told], writes: Callable[[Asked], bool]) -> None:
        self.url = ""
        self.asked: deque[str] = deque(maxlen=1000)
        self.faults: list[str] = []
        """For the next requests that write, the first of them first; "" is for one that goes well."""
        self.troubles: Mapping[str, Told] = {
            BUSY: Told(429, {"message": "busy"}, {"Retry-After": "3"}),
            BROKEN: Told(500, {"message": "broken"}),
        }
        self._answer = answer
        self.writes = writes
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(30):
                asked = await _read(reader)
                fault = self.faults.pop(0) if self.faults and self.writes(asked) else ""
                told = self._tell(asked, fault)
                if fault == SILENT:
                    await reader.read(1)  # until the other side hangs up
                if told is not None:
                    writer.write(_bytes(told))
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # whoever asked is gone
        finally:
            writer.close()

    def _tell(self, asked: Asked, fault: str) -> Told | None:
        self.asked.append(f"{asked.method} {asked.path}")
        if fault in self.troubles:
            return self.troubles[fault]
        try:
            told = self._answer(asked)
        except Refusal as refusal:
            told = refusal.told
        return None if fault in (UNANSWERED, SILENT) else told


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    pairs = (line.partition(":") for line in head[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return Asked(method, parts.path, query, headers, body)


def _bytes(told: Told) -> bytes:
    body = told.body if isinstance(told.body, bytes) else json.dumps(told.body).encode()
    body = b"" if told.body is None else body
    lines = [f"{name}: {value}" for name, value in told.headers.items()]
    head = [f"HTTP/1.1 {told.status} {HTTPStatus(told.status).phrase}", *lines]
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body
