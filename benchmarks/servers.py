"""The servers under test, and what they cost."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from benchmarks import cores, load
from benchmarks.load import Load
from benchmarks.place import Place


class Slice(NamedTuple):
    """One second of load on one server."""

    cpu_us: float
    """Per call, with the flush of its usage."""
    rps: float
    p50_us: float
    store_us: float = 0.0
    """CPU per call of the server that keeps the counters."""


class Server:
    def __init__(self, command: Callable[[int], Sequence[str]], place: Place | None = None) -> None:
        """`command` says how it is started on a port."""
        self.place = place
        self.port = free_port()
        self.answered = 0
        self.unseen = 0
        """Calls whose answer the client may not have waited for."""
        environment = os.environ | (place.environment if place else {})
        self._process = subprocess.Popen(command(self.port), env=environment)
        cores.pin(cores.SERVER, self._process.pid)

    def __enter__(self) -> Self:
        wait_for(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # a peer that waits for streams which nobody reads any more
            self._process.kill()
            self._process.wait()

    def prove(self) -> None:
        """After the end: the ledger and the answers agree."""
        if self.place is not None:
            self.place.prove(self.answered, self.unseen)

    def cpu_ns(self) -> int:
        return cpu_ns(self._process.pid)

    def closed(self, seconds: float) -> Slice:
        """A slice of closed-loop load, CPU measured until its usage is in the ledger."""
        before, store_before = self.cpu_ns(), self._store_ns()
        done = self.note(load.closed(self.port, self.key, seconds))
        self.settled()
        cpu_us = (self.cpu_ns() - before) / done.answered / 1000
        store_us = (self._store_ns() - store_before) / done.answered / 1000
        return Slice(cpu_us, done.answered / done.seconds, done.p50_us, store_us)

    def thinking_us(self, seconds: float) -> float:
        """The median answer time at a load that leaves the server room."""
        done = self.note(load.thinking(self.port, self.key, seconds))
        self.settled()
        return done.p50_us

    def memory_mb(self) -> float:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024

    @property
    def key(self) -> str:
        return self.place.key if self.place else ""

    def note(self, done: Load) -> Load:
        self.answered += done.answered
        self.unseen += load.CONNECTIONS
        return done

    def noted(self, calls: int) -> None:
        """Calls of another client, each read to its end."""
        self.answered += calls

    def settled(self) -> None:
        if self.place is not None:
            self.place.wait_until_flushed()

    def _store_ns(self) -> int:
        return cpu_ns(self.place.store_pid) if self.place and self.place.store_pid else 0


def cpu_ns(pid: int) -> int:
    """User and system time of all threads of a process, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(port: int) -> None:
    """Until somebody answers there; a socket may wait for callers long before the server takes them."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            if line.recv(1):
                return
        time.sleep(0.05)
    raise TimeoutError(f"The server on port {port} did not start.")
