"""The proxy beside nginx and beside proxies around client libraries, in front of the same upstream."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import proxies, upstream
from benchmarks.place import Place
from benchmarks.servers import Server, free_port, wait_for

STREAMS = 50
HELD_OPEN = 500
HELD_S = 1.5
POLICY = """\
metergate: 1
upstream: {{url: "http://127.0.0.1:{port}"}}
meters: {{requests: {{count: calls}}}}
prices: {{requests: {{price: "0.000002"}}}}
routes: [{{match: "* /**", meter: requests}}]
"""


class Taken(NamedTuple):
    """One round on one proxy."""

    rps: float
    call_us: float
    """CPU per call."""
    chunk_us: float
    """CPU per chunk of a stream, of many at once."""
    first_us: float
    """From the request to the first chunk."""
    chunks_s: float
    """Chunks per second, of streams with a pause after each."""


class Forwarded(NamedTuple):
    rounds: list[Mapping[str, Taken]]
    stream_kb: Mapping[str, float]
    """Memory of an open stream."""

    def median(self, name: str, field: Callable[[Taken], float]) -> float:
        return statistics.median(field(each[name]) for each in self.rounds)

    def ratio(self, field: Callable[[Taken], float], name: str, over: str) -> float:
        return statistics.median(field(each[name]) / field(each[over]) for each in self.rounds)


def measure(rounds: int, seconds: float, say: Callable[[str], None]) -> Forwarded:
    with tempfile.TemporaryDirectory(prefix="metergate-bench-") as scratch, ExitStack() as running:
        port = running.enter_context(_upstream())
        commands = proxies.present(port)
        say("proxies: open streams")
        memory = {name: _memory_kb(Server(command)) for name, command in commands.items()}
        memory["metergate"] = _memory_kb(_metergate(Path(scratch) / "memory", port))
        servers = {name: Server(command) for name, command in commands.items()}
        servers["metergate"] = _metergate(Path(scratch) / "rounds", port)
        with ExitStack() as started:
            for server in servers.values():
                started.enter_context(server)
                server.closed(seconds)
            taken: list[Mapping[str, Taken]] = []
            for number in range(rounds):
                say(f"proxies: round {number + 1} of {rounds}")
                order = list(servers) if number % 2 == 0 else list(servers)[::-1]
                taken.append({name: _round(servers[name], seconds) for name in order})
        servers["metergate"].prove()
        return Forwarded(taken, memory)


def _metergate(scratch: Path, port: int) -> Server:
    scratch.mkdir()
    file = scratch / "policy.yaml"
    file.write_text(POLICY.format(port=port))
    place = Place(scratch / "data", policy=str(file))

    def command(own: int) -> Sequence[str]:
        sides = ["--port", str(own), "--admin-port", "0"]
        return [sys.executable, "-m", "metergate", "serve", str(file), *sides]

    return Server(command, place)


def _round(server: Server, seconds: float) -> Taken:
    calls = server.closed(seconds)
    before = server.cpu_ns()
    read = _streams(server, STREAMS, 0.0)
    server.settled()
    chunk_us = (server.cpu_ns() - before) / (STREAMS * upstream.CHUNKS) / 1000
    chunks_s = STREAMS * upstream.CHUNKS / read["seconds"]
    return Taken(calls.rps, calls.cpu_us, chunk_us, read["first_us"], chunks_s)


def _memory_kb(server: Server) -> float:
    """What an open stream adds to a process that no load has given room before."""
    with server:
        _streams(server, 1, 0.0)
        before = found = server.memory_mb()
        with _streaming(server, HELD_OPEN, HELD_S) as process:
            while process.poll() is None:
                found = max(found, server.memory_mb())
                time.sleep(0.05)
    return (found - before) * 1024 / HELD_OPEN


def _streams(server: Server, count: int, linger_s: float) -> dict[str, float]:
    with _streaming(server, count, linger_s) as process:
        told, _ = process.communicate()
    read: dict[str, float] = json.loads(told)
    if read["bytes"] < count * upstream.CHUNKS * len(upstream.EVENT):
        raise AssertionError(f"Streams came shorter than they were sent: {read}")
    server.noted(count)
    return read


@contextmanager
def _streaming(server: Server, count: int, linger_s: float) -> Iterator[subprocess.Popen[str]]:
    asked = [str(server.port), server.key, str(count), str(linger_s)]
    command = [sys.executable, "-m", "benchmarks.streams", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
    if process.returncode:
        raise AssertionError("The client of the streams failed.")


@contextmanager
def _upstream() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream", str(port)])
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()
