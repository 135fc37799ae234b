"""`make bench`: what metering costs, as ratios of one machine's figures to its own."""

import argparse
import sys

from benchmarks import accounts, cores, drain, forwarding, inside, load, report, rounds


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    asked.add_argument("--rounds", type=int, default=9, help="interleaved rounds of one second per server")
    asked.add_argument("--quick", action="store_true", help="two rounds, to see that everything works")
    wanted = asked.parse_args()
    cores.pin(cores.CLIENT)
    count, tries = (2, 2) if wanted.quick else (wanted.rounds, 5)
    compared = rounds.measure(tuple(report.GOALS), count, 1.0, _say)
    _say("inside the process")
    within = inside.measure(tries)
    _say("many accounts")
    by_accounts = accounts.measure(tries)
    _say("draining")
    drained = drain.measure(tries)
    forwarded = forwarding.measure(count, 1.0, _say)
    _say("")
    print(f"{load.CONNECTIONS} connections, {count} rounds of one second, uvicorn with one worker.")
    report.compared(compared)
    report.inside(within)
    report.accounts(by_accounts)
    report.drained(drained)
    report.forwarded(forwarded)


def _say(text: str) -> None:
    """Progress, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
