"""Secrets that are planted everywhere, the places where nobody should find them, and a service to grow in."""

import http.server
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.house.rules import ROOT
from tests.ports import free_port
from tests.servers.serving import ended, kill
from tests.waiting import DEADLINE_S

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")}
WORDS = (
    "METERGATE_PEPPER", "METERGATE_ADMIN_TOKEN", "METERGATE_AUTHZ_TOKEN", "UPSTREAM_KEY", "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET", "PAYPAL_CLIENT_SECRET", "SQUARE_ACCESS_TOKEN", "SQUARE_WEBHOOK_SIGNATURE_KEY",
    "ADYEN_API_KEY", "ADYEN_HMAC_KEY", "SANDBOX_SECRET_KEY", "SANDBOX_WEBHOOK_SECRET",
)  # fmt: skip
"""What operators set as secrets, the providers' among them."""

POLICY = """\
metergate: 1
service: plants
provider: sandbox
upstream: {{url: "http://127.0.0.1:{port}", headers: {{Authorization: "Bearer ${{UPSTREAM_KEY}}"}}}}
web3:
  chains:
    - {{id: 1, rpc: "${{WEB3_RPC_URL}}", receive: "0x0000000000000000000000000000000000000001"}}
meters: {{requests: {{count: calls}}}}
prices: {{requests: {{price: "0.01"}}}}
routes:
  - {{match: "* /free/**", free: true}}
  - {{match: "* /**", meter: requests}}
"""
LOUD = (
    "import logging; logging.basicConfig(level=logging.DEBUG, force=True);"
    "from metergate.cli import main; main()"
)
"""The command, with everything logged that anybody logs."""


class Plants:
    """Secrets by name; each is a word that stands nowhere else."""

    def __init__(self) -> None:
        self.secrets = {
            name: f"planted{secrets.token_hex(12)}" for name in (*WORDS, "STORE", "LEDGER", "RPC")
        }
        self.harvest: list[tuple[str, bytes]] = []
        """What was put out: by whom, and what."""

    def __getitem__(self, name: str) -> str:
        return self.secrets[name]

    def keep(self, name: str, secret: str) -> str:
        self.secrets[name] = secret
        return secret

    @property
    def environ(self) -> dict[str, str]:
        return {name: self.secrets[name] for name in WORDS} | {
            "WEB3_RPC_URL": f"https://rpc.example.com/v1/{self['RPC']}"
        }

    def gather(self, place: str, said: bytes | str) -> None:
        self.harvest.append((place, said.encode() if isinstance(said, str) else said))

    def gather_files(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.gather(str(path.relative_to(folder)), path.read_bytes())

    def found(self) -> list[str]:
        """Which secret can be read where."""
        return [
            f"{name} in {place}: …{said[max(0, said.find(word) - 60) : said.find(word) + 60]!r}…"
            for place, said in self.harvest
            for name, text in self.secrets.items()
            for word in (text.encode(), text.encode().hex().encode())
            if word in said
        ]


class Upstream(http.server.BaseHTTPRequestHandler):
    """An upstream that remembers what it was sent, and breaks off under /broken."""

    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_GET(self) -> None:
        type(self).seen.append(f"{self.requestline}\n{self.headers}")
        if "/broken" in self.path:
            self.wfile.write(b"HTTP/1.1 nonsense\r\n\r\n")
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET  # noqa: N815  # as the handler's names are

    def log_message(self, format: str, *args: object) -> None:
        """The test reads what is seen, and no log."""


@contextmanager
def upstream() -> Iterator[tuple[int, list[str]]]:
    seen: list[str] = []
    handler = type("Seeing", (Upstream,), {"seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], seen
        server.shutdown()
        thread.join()


class Service:
    """`metergate serve` with everything planted and logged."""

    def __init__(self, folder: Path, plants: Plants, environ: Mapping[str, str], upstream_port: int) -> None:
        self.folder = folder
        self.plants = plants
        self.environ = dict(environ)
        self.port, self.admin_port = free_port(), free_port()
        self.log = folder / "server.log"
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY.format(port=upstream_port))
        ports = ("--port", str(self.port), "--admin-port", str(self.admin_port))
        self.process = self.start("serve", "policy.yaml", *ports, log=self.log, PYTHONASYNCIODEBUG="1")
        self.client = httpx2.Client(timeout=DEADLINE_S)
        self._wait()

    def start(self, *words: str, log: Path, **more: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-c", LOUD, *words],
                cwd=self.folder,
                env=CLEAN | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"} | self.environ | more,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                if self.client.get(f"http://127.0.0.1:{self.admin_port}/readyz").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            if ended(self.process, within=0.05) or time.monotonic() > deadline:
                raise AssertionError(self.log.read_text())

    def admin(self, method: str, path: str, body: object = None, token: str = "", **secret: Any) -> Any:
        """One request of the operator's; what it answers is looked at, unless it tells a new key."""
        shown = {"authorization": f"Bearer {token or self.plants['METERGATE_ADMIN_TOKEN']}"}
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        answer = self.client.request(method, url, json=body, headers=shown)
        told = answer.json() if "json" in answer.headers.get("content-type", "") else None
        if not secret:
            self.plants.gather(f"admin {method} {path}", f"{answer.headers}\n".encode() + answer.content)
        return told

    def say(self, request: str) -> bytes:
        """What comes back for some bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as line:
            line.sendall(request.encode("latin-1"))
            answer = b""
            while data := line.recv(65_536):
                answer += data
        self.plants.gather(f"data port, {request[:40]!r}", answer)
        return answer

    def get(self, target: str, *headers: str, method: str = "GET") -> bytes:
        lines = (f"{method} {target} HTTP/1.1", "host: a.example", "connection: close", *headers)
        return self.say("\r\n".join([*lines, "", ""]))

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        self.plants.gather("server.log", self.log.read_bytes())


@contextmanager
def serving(
    folder: Path, plants: Plants, environ: Mapping[str, str], upstream_port: int
) -> Iterator[Service]:
    service: Service | None = None
    try:
        service = Service(folder, plants, environ, upstream_port)
        yield service
        service.stop()
    finally:
        if service is not None:
            kill(service.process)
