"""A run under faults for as long as wanted: `make faults ARGS="--seconds 600 --seed 7"`."""

import argparse
import asyncio
import secrets
import sys
import time
from collections import Counter

from tests.faults.harness.mischief import survives
from tests.faults.harness.world import embedded, shared

ROUND_S = 60.0
"""So long the faults go on before everything has to heal and to be proven; then the next round begins."""


async def main() -> None:
    asked = _asked()
    end, seed = time.monotonic() + asked.seconds, asked.seed
    while (left := end - time.monotonic()) > 0:
        for kind in asked.stores:
            started = time.monotonic()
            async with (embedded if kind == "embedded" else shared)() as world:
                # Every other round the store also loses what it was told.
                done = await survives(
                    world, seed, min(left / len(asked.stores), ROUND_S), losses=bool(seed % 2)
                )
                _tell(kind, seed, done, world.callers.statuses, time.monotonic() - started)
        seed += 1


def _asked() -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="make faults ARGS=…", description=__doc__)
    asked.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the first round")
    asked.add_argument("--seconds", type=float, default=300.0, help="how long, in all")
    asked.add_argument("--store", choices=["embedded", "shared"], help="only one of the two kinds")
    found = asked.parse_args()
    found.stores = [found.store] if found.store else ["shared", "embedded"]
    return found


def _tell(kind: str, seed: int, done: Counter[str], statuses: Counter[int], took: float) -> None:
    faults = ", ".join(f"{name} {count} times" for name, count in done.most_common())
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    sys.stdout.write(f"seed {seed}, {kind}, {took:.0f} s: {faults}; {answers}; every call is billed once.\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
