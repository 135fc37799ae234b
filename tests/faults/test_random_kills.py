"""Everything is killed at random while customers call: what was served is billed, once, and nothing else.

FAULTS_SEED=7 tells the same faults again; which call they meet is up to the machine. `make faults` goes on
for as long as you like.
"""

import os

import pytest

from tests.faults.harness.mischief import NETWORK, survives
from tests.faults.harness.world import embedded, shared

LOST = "was served and is not billed"
SEED = int(os.environ.get("FAULTS_SEED", "2026"))


async def test_a_process_over_the_embedded_store_is_killed_again_and_again() -> None:
    async with embedded() as world:
        done = await survives(world, SEED, seconds=8)
    assert done["a gate is killed"] >= 2


async def test_gates_workers_store_and_ledger_are_killed_again_and_again() -> None:
    async with shared() as world:
        done = await survives(world, SEED, seconds=15)
    assert len(done) >= 4


async def test_a_store_that_loses_what_it_was_told_loses_no_call() -> None:
    """It is emptied, and the end of its file is cut off, while gates and workers are killed too."""
    async with shared() as world:
        done = await survives(world, SEED, seconds=15, losses=True)
    assert done["the store is emptied"] + done["the store loses its tail"] >= 2


async def test_what_the_network_loses_is_charged_once_and_nobody_pays_for_what_was_not_served() -> None:
    async with shared() as world:
        done = await survives(world, SEED, seconds=8, only=NETWORK)
    assert done[f"{NETWORK} loses an answer"] >= 1


async def test_without_journals_that_is_noticed() -> None:
    async with shared(METERGATE_JOURNAL="off") as world:
        with pytest.raises(AssertionError, match=LOST):
            await survives(world, SEED, seconds=20, losses=True)
