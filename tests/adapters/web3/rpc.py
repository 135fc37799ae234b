"""A node over HTTP in front of a chain, which lies, lags, fails and keeps silent when it is told to."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.web3.evm import Evm, NodeError

Tamper = Callable[[str, list[Any], Any], Any]
"""What is said in place of an answer: of the method, what was asked with it, and the true answer."""
SILENT = "silent"
"""It took the question and says nothing, besides the faults of every provider."""


class Rpc:
    def __init__(self, evm: Evm) -> None:
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.widest = 0
        """The most blocks that anybody wanted the logs of, at once."""
        self.tamper: Tamper | None = None
        self.next: list[str] = []
        """What becomes of the next requests."""
        self.always = ""
        """What becomes of every request."""
        self.range: int | None = None
        """How many blocks of logs are given at once."""
        self.patience: int | None = None
        """Of how many blocks at once the logs are found before whoever asks has gone."""
        self._evm = evm
        self._ended = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1/key"

    async def close(self) -> None:
        self._ended.set()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(30):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                [length] = [line for line in head.splitlines() if line.startswith("content-length")]
                asked = json.loads(await reader.readexactly(int(length.split()[-1])))
                status, told = await self._answer(asked)
                if status:
                    body = told if isinstance(told, bytes) else json.dumps(told).encode()
                    lines = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    writer.write(lines.encode() + body)
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, asked: dict[str, Any]) -> tuple[int, Any]:
        method, params = asked["method"], asked["params"]
        self.asked[method] += 1
        fate = self.next.pop(0) if self.next else self.always
        if fate == BUSY:
            return 429, {"error": "slower"}
        if fate == BROKEN:
            return 500, b"<html>"
        if fate == SILENT:
            await self._ended.wait()
            return 0, b""
        if fate.isdecimal():
            return int(fate), b""
        named = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            told = await self._told(method, params)
        except NodeError as error:
            return 200, {**named, "error": {"code": -32000, "message": str(error)}}
        tired = self.patience is not None and method == "eth_getLogs" and _blocks(params) > self.patience
        return 0 if fate == UNANSWERED or tired else 200, {**named, "result": told}

    async def _told(self, method: str, params: list[Any]) -> Any:
        if method == "eth_getLogs":
            blocks = _blocks(params)
            self.widest = max(self.widest, blocks)
            if self.range is not None and blocks > self.range:
                raise NodeError(f"block range is too wide, at most {self.range}")
        told = await self._evm.call(method, *params)
        return self.tamper(method, params, told) if self.tamper is not None else told


def _blocks(params: list[Any]) -> int:
    return int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
