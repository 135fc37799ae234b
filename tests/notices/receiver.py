"""A receiver of webhooks: a real HTTP server that verifies by itself and answers as it is told."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any


class Receiver:
    def __init__(self, clock: Callable[[], int], tls: ssl.SSLContext | None = None) -> None:
        self.secrets: list[str] = []
        self.answer = 200
        self.answers: list[int] = []
        """What the next ones are answered, before `answer` is."""
        self.headers = ""
        self.silent = False
        self.asked = 0
        self.got: list[tuple[str, dict[str, Any]]] = []
        """Ids and bodies of what was verified and taken."""
        self.forged: list[str] = []
        self._clock = clock
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://localhost:{self._port}/hooks?from=metergate"

    @property
    def ids(self) -> Counter[str]:
        return Counter(id for id, _ in self.got)

    @property
    def types(self) -> list[str]:
        return [body["type"] for _, body in self.got]

    def of(self, type: str) -> list[dict[str, Any]]:
        """The data of the notices of a type."""
        return [body["data"] for _, body in self.got if body["type"] == type]

    async def start(self) -> None:
        """Also again, at the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            told = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            raw = {
                line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head.split("\r\n")[1:-2]
            }
            body = await reader.readexactly(int(told["content-length"]))
            self.asked += 1
            if self.silent:
                await reader.read()  # until the other side gives up
                return
            status = self.answers.pop(0) if self.answers else self.answer
            if not self.verified(raw, body):
                self.forged.append(raw.get("webhook-id", ""))
                status = 401
            elif 200 <= status < 300:
                self.got.append((raw["webhook-id"], json.loads(body)))
            writer.write(f"HTTP/1.1 {status} Told\r\ncontent-length: 0\r\n{self.headers}\r\n".encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def verified(self, headers: dict[str, str], body: bytes) -> bool:
        """Standard Webhooks, written anew from its text."""
        id, at = headers["webhook-id"], headers["webhook-timestamp"]
        if abs(int(at) - self._clock() // 10**6) > 300:
            return False
        text = f"{id}.{at}.".encode() + body
        shown = [each.removeprefix("v1,") for each in headers["webhook-signature"].split(" ")]
        for secret in self.secrets:
            key = base64.b64decode(secret.removeprefix("whsec_"))
            wanted = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
            if any(hmac.compare_digest(wanted, each) for each in shown):
                return True
        return False
