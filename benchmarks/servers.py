"""The servers under test, and what they cost."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Self

from benchmarks import load
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
    def __init__(self, kind: str, place: Place | None = None) -> None:
        self.place = place
        self.port = _free_port()
        self.answered = 0
        self.unseen = 0
        """Calls whose answer the client may not have waited for."""
        metered = ["metered"] if place else []
        command = [sys.executable, "-m", "benchmarks.apps", kind, str(self.port), *metered]
        self._process = subprocess.Popen(command, env=os.environ | (place.environment if place else {}))

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise TimeoutError(f"The server on port {self.port} did not start.")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)

    def prove(self) -> None:
        """After the end: the ledger and the answers agree."""
        if self.place is not None:
            self.place.prove(self.answered, self.unseen)

    def closed(self, seconds: float) -> Slice:
        """A slice of closed-loop load, CPU measured until its usage is in the ledger."""
        before, store_before = cpu_ns(self._process.pid), self._store_ns()
        done = self._note(load.closed(self.port, self._key, seconds))
        self._settled()
        cpu_us = (cpu_ns(self._process.pid) - before) / done.answered / 1000
        store_us = (self._store_ns() - store_before) / done.answered / 1000
        return Slice(cpu_us, done.answered / done.seconds, done.p50_us, store_us)

    def thinking_us(self, seconds: float) -> float:
        """The median answer time at a load that leaves the server room."""
        done = self._note(load.thinking(self.port, self._key, seconds))
        self._settled()
        return done.p50_us

    def memory_mb(self) -> float:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024

    @property
    def _key(self) -> str:
        return self.place.key if self.place else ""

    def _note(self, done: Load) -> Load:
        self.answered += done.answered
        self.unseen += load.CONNECTIONS
        return done

    def _settled(self) -> None:
        if self.place is not None:
            self.place.wait_until_flushed()

    def _store_ns(self) -> int:
        return cpu_ns(self.place.store_pid) if self.place and self.place.store_pid else 0


def cpu_ns(pid: int) -> int:
    """User and system time of all threads of a process, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
