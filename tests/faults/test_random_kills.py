"""Everything is killed at random while customers call: what was served is billed, once, and nothing else.

FAULTS_SEED=7 tells the same faults again; which call they meet is up to the machine. `make faults` goes on
for as long as you like.
"""

import os

from tests.faults.harness.mischief import survives
from tests.faults.harness.world import embedded, shared

SEED = int(os.environ.get("FAULTS_SEED", "2026"))


async def test_a_process_over_the_embedded_store_is_killed_again_and_again() -> None:
    async with embedded() as world:
        done = await survives(world, SEED, seconds=8)
    assert done["a gate is killed"] >= 2


async def test_gates_workers_store_and_ledger_are_killed_again_and_again() -> None:
    async with shared() as world:
        done = await survives(world, SEED, seconds=20)
    assert len(done) >= 4
