"""Interleaved rounds of servers, ratios within a round: figures for machines that are never quiet."""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import apps
from benchmarks.place import Place
from benchmarks.servers import Server, Slice
from benchmarks.shared import shared_place

NAMES = ("bare", "metered", "redis", "bare again")
TRUSTED = 0.03
"""How far two runs of the same server may be apart for the others to be believed."""
AGREED = 0.05
"""How far the ratios of CPU and of throughput may be apart."""


class Outcome(NamedTuple):
    kind: str
    rounds: list[Mapping[str, Slice]]
    thinking_us: Mapping[str, float]
    memory_mb: Mapping[str, float]

    def cpu_us(self, name: str) -> float:
        return statistics.median(each[name].cpu_us for each in self.rounds)

    def ratios(self, name: str) -> list[float]:
        """CPU per call of the bare app over that of another, round by round."""
        return sorted(each["bare"].cpu_us / each[name].cpu_us for each in self.rounds)

    def rps_ratio(self, name: str) -> float:
        return statistics.median(each[name].rps / each["bare"].rps for each in self.rounds)

    def store_us(self, name: str) -> float:
        return statistics.median(each[name].store_us for each in self.rounds)

    def doubt(self, name: str) -> str:
        """Why the ratio should not be believed; empty where it may be."""
        again = statistics.median(self.ratios("bare again"))
        if abs(again - 1) > TRUSTED:
            return f"the same app twice differs by {abs(again - 1):.0%}"
        if abs(statistics.median(self.ratios(name)) - self.rps_ratio(name)) > AGREED:
            return "CPU and throughput disagree"
        return ""


def measure(kinds: Sequence[str], rounds: int, seconds: float, say: Callable[[str], None]) -> list[Outcome]:
    """All servers at once, a slice each, in an order that turns round every time."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-") as scratch, ExitStack() as places:
        with ExitStack() as running:
            servers = {kind: _start(kind, Path(scratch), places, running) for kind in kinds}
            outcomes = [_measure(kind, servers[kind], rounds, seconds, say) for kind in kinds]
        say("proving the books")
        for each in servers.values():
            for server in each.values():
                server.prove()
    return outcomes


def _start(kind: str, scratch: Path, places: ExitStack, running: ExitStack) -> Mapping[str, Server]:
    shared = places.enter_context(shared_place(scratch / f"{kind}-redis"))
    found = {"metered": Place(scratch / kind), "redis": shared}
    return {
        name: running.enter_context(Server(apps.command(kind, metered=name in found), found.get(name)))
        for name in NAMES
    }


def _measure(
    kind: str, servers: Mapping[str, Server], rounds: int, seconds: float, say: Callable[[str], None]
) -> Outcome:
    for server in servers.values():
        server.closed(seconds)  # the first calls pay for what is imported and remembered late
    taken: list[Mapping[str, Slice]] = []
    for number in range(rounds):
        say(f"{kind}: round {number + 1} of {rounds}")
        order = NAMES if number % 2 == 0 else NAMES[::-1]
        taken.append({name: servers[name].closed(seconds) for name in order})
    say(f"{kind}: think time")
    thinking = {name: servers[name].thinking_us(2 * seconds) for name in NAMES}
    return Outcome(kind, taken, thinking, {name: servers[name].memory_mb() for name in NAMES})
