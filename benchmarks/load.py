"""Load on a server: wrk where it is installed, else a small client of our own."""

import json
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

CONNECTIONS = 64
THINKING = 8
"""Connections of the load that thinks between its calls."""


class Load(NamedTuple):
    answered: int
    seconds: float
    p50_us: float


def closed(port: int, key: str, seconds: float) -> Load:
    """Every connection sends its next call when it has its answer."""
    if shutil.which("wrk") is None:
        return _own(port, key, CONNECTIONS, seconds, think_ms=0)
    bearer = ["-H", f"Authorization: Bearer {key}"] if key else []
    url = f"http://127.0.0.1:{port}/hello"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency", *bearer, url]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise AssertionError(f"Not every call was answered with 200:\n{told}")
    return _read(told)


def thinking(port: int, key: str, seconds: float) -> Load:
    """A few connections that pause 1 to 7 ms between calls: what latency is like without a queue."""
    return _own(port, key, THINKING, seconds, think_ms=7)


def _read(told: str) -> Load:
    count = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", told)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", told)
    assert count, told
    assert median, told
    scale = {"us": 1, "ms": 10**3, "s": 10**6, "m": 60 * 10**6}
    seconds = float(count[2]) * scale[count[3]] / 10**6
    return Load(int(count[1]), seconds, float(median[1]) * scale[median[2]])


def _own(port: int, key: str, connections: int, seconds: float, think_ms: int) -> Load:
    asked = [str(port), key, str(connections), str(seconds), str(think_ms)]
    command = [sys.executable, "-m", "benchmarks.client", *asked]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    if told["refused"]:
        raise AssertionError(f"{told['refused']} calls were not answered with 200.")
    return Load(told["answered"], told["seconds"], told["p50_us"])
