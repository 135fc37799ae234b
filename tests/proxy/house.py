"""`metergate serve` as a process, between raw sockets on both sides."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.ports import free_port
from tests.servers.serving import Server, ended, kill, start
from tests.upstream.house import Line, Script, Served, serving
from tests.waiting import DEADLINE_S

POLICY: Mapping[str, Any] = {
    "metergate": 1,
    "meters": {
        "requests": {"count": "calls"},
        "bytes": {"count": "bytes"},
        "messages": {"count": "messages"},
    },
    "prices": {
        "requests": {"price": "0.01"},
        "bytes": {"price": "0.000001"},
        "messages": {"price": "0.01"},
    },
    "routes": [
        {"match": "GET /ws/open/**", "public": True, "websocket": True},
        {"match": "GET /ws/free/**", "free": True, "websocket": True},
        {"match": "GET /ws/**", "meter": "messages", "websocket": True},
        {"match": "* /public/**", "public": True},
        {"match": "* /free/**", "free": True},
        {"match": "* /bytes/**", "meter": "bytes"},
        {"match": "* /drained/**", "meter": "bytes", "drain": "20s"},
        {"match": "* /short/**", "meter": "requests", "body_bytes": 10},
        {"match": "* /**", "meter": "requests"},
    ],
}


class Gateway(Server):
    """The proxy in front of an upstream that each test plays itself."""

    def __init__(self, folder: Path, policy: Mapping[str, Any], **environ: str) -> None:
        self.folder = folder
        self.environ = environ
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.port, self.admin_port = free_port(), free_port()
        # Bound and not listening: connections are refused, and nobody else on the machine gets the port.
        self.kept = socket.socket()
        self.kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.kept.bind(("127.0.0.1", 0))
        self.upstream_port = int(self.kept.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.key_shown = ""
        self.write(policy)
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        ports = ["--port", str(self.port), "--admin-port", str(self.admin_port)]
        return start(
            [sys.executable, "-m", "metergate", "serve", "policy.yaml", *ports], self.folder, **self.environ
        )

    def write(self, policy: Mapping[str, Any]) -> None:
        here = {"url": f"http://127.0.0.1:{self.upstream_port}"}
        upstream = here | {"headers": {"Authorization": "Bearer ours"}}
        named = {name: here | each for name, each in policy.get("upstreams", {}).items()}
        whole = {**policy, "upstream": upstream | policy.get("upstream", {}), "upstreams": named}
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(whole))

    def reload(self) -> None:
        os.kill(self.process.pid, signal.SIGHUP)

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        with httpx2.Client() as client:
            while time.monotonic() < deadline:
                if ended(self.process, within=0.02):
                    break
                try:
                    if client.get(f"http://127.0.0.1:{self.admin_port}/readyz").status_code == 200:
                        return
                except httpx2.TransportError:
                    continue
        raise AssertionError(self.log.read_text())

    def upstream(self, script: Script) -> Any:
        """What stands behind the proxy, until the end of the block."""
        return serving(script, port=self.upstream_port)

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Line]:
        """A client's connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            yield Line(reader, writer)
        finally:
            writer.close()

    async def say(self, request: bytes) -> bytes:
        """Everything that comes back for some bytes, until the proxy closes."""
        async with asyncio.timeout(DEADLINE_S), self.dial() as line:
            await line.say(request)
            return await line.closed()

    async def customer_once(self) -> str:
        """The key of a customer with more credits than the tests of a module use."""
        if not self.key_shown:
            self.key_shown = await self.customer("regular", "1000.00")
        return self.key_shown


@contextmanager
def gateway(folder: Path, policy: Mapping[str, Any] = POLICY, **environ: str) -> Iterator[Gateway]:
    made = Gateway(folder, policy, **environ)
    try:
        made.wait_until_it_answers()
        yield made
        if made.process.poll() is None:
            made.stop()
            assert made.process.returncode == 0, made.log.read_text()
    finally:
        made.kept.close()
        kill(made.process)


def get(target: str, key: str = "", *headers: str, method: str = "GET") -> bytes:
    """A request without a body, on a connection of its own."""
    shown = [f"authorization: Bearer {key}"] if key else []
    lines = [f"{method} {target} HTTP/1.1", "host: public.example", "connection: close", *shown, *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found, answer
    return int(found[1])


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def header(answer: bytes, name: str) -> str | None:
    found = re.search(rb"(?im)^%b: ([^\r\n]*)" % name.encode(), answer.partition(b"\r\n\r\n")[0])
    return found[1].decode("latin-1") if found else None


class Log:
    """An upstream that answers everything alike and remembers every head and body, byte for byte."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answer = answer

    async def __call__(self, line: Line) -> None:
        while head := await line.head():
            self.heads.append(head)
            self.bodies.append(await self._body(line, head))
            await line.say(self.answer)

    async def _body(self, line: Line, head: bytes) -> bytes:
        length = header(head, "content-length")
        if length is not None:
            return await line.reader.readexactly(int(length))
        found = b""
        while header(head, "transfer-encoding"):
            size = int(await line.reader.readuntil(b"\r\n"), 16)
            chunk = await line.reader.readexactly(size + 2)
            found += chunk[:-2]
            if not size:
                break
        return found

    @property
    def lines(self) -> list[bytes]:
        """The request lines."""
        return [head.partition(b"\r\n")[0] for head in self.heads]


__all__ = ["Gateway", "Line", "Log", "Served", "body", "gateway", "get", "header", "status"]
