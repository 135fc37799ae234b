"""`make bench`: what metering costs, as ratios of one machine's figures to its own."""

import argparse
import sys
from collections.abc import Callable
from functools import partial

from benchmarks import accounts, cores, drain, forwarding, inside, load, report, rounds

PARTS = ("apps", "inside", "accounts", "drain", "forwarding")


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    asked.add_argument("--rounds", type=int, default=9, help="interleaved rounds of one second per server")
    asked.add_argument("--quick", action="store_true", help="two rounds, to see that everything works")
    asked.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts, not all")
    wanted = asked.parse_args()
    cores.pin(cores.CLIENT)
    count, tries = (2, 2) if wanted.quick else (wanted.rounds, 5)
    tables = [_measured(part, count, tries) for part in PARTS if part in wanted.only]
    _say("")
    print(f"{load.CONNECTIONS} connections, {count} rounds of one second, uvicorn with one worker.")
    for table in tables:
        table()


def _measured(part: str, count: int, tries: int) -> Callable[[], None]:
    """Measure a part; what prints its table."""
    _say(part)
    if part == "apps":
        return partial(report.compared, rounds.measure(tuple(report.GOALS), count, 1.0, _say))
    if part == "inside":
        return partial(report.inside, inside.measure(tries))
    if part == "accounts":
        return partial(report.accounts, accounts.measure(tries))
    if part == "drain":
        return partial(report.drained, drain.measure(tries))
    return partial(report.forwarded, forwarding.measure(count, 1.0, _say))


def _say(text: str) -> None:
    """Progress, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
