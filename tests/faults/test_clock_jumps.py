"""A wall clock that jumps, forward and back: nobody pays twice or not at all, and deadlines do not move."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.harness.lines import SLACK_S, TIMEOUT_S, Lines, Wall
from tests.shell import CENT, hello, metered, policy

DOLLAR = 10**9


@pytest.mark.parametrize("hours", [30.0, 2.0, -2.0, -30.0])
async def test_a_call_that_runs_while_the_clock_jumps_is_charged_once_as_it_was(
    lines: Lines, hours: float
) -> None:
    """Its hold seems to be over, or to last for days; the worker has a look at it, and the call ends."""
    wall = Wall()
    async with lines.metered(clock=wall) as service:
        await service.heals()
        runs, ends = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            service.served.gate = None
            runs.set()
            await ends.wait()

        service.served.gate = wait
        calling = asyncio.create_task(service.call())
        await runs.wait()
        wall.jump(hours)
        for _ in range(3):
            await service.shell.engine.foundation.worker.run_once()
        assert await service.call() == 200
        ends.set()
        assert await calling == 200
        await service.heals()
        told = await service.shell.engine.office.do("usage.list", {"limit": 1000})
        assert {row["measured"] for row in told["data"]} == {"measured"}


@pytest.mark.parametrize("hours", [30.0, -30.0])
async def test_the_embedded_store_goes_on_after_a_jump_and_after_a_restart(
    tmp_path: Path, hours: float
) -> None:
    """Also where the journal was written in what is now the future."""
    wall = Wall()
    async with metered(hello, tmp_path, clock=wall) as shell:
        assert (await shell.fetch("GET", "/x")).status == 200
        wall.jump(hours)
        assert (await shell.fetch("GET", "/x")).status == 200
        assert len(await shell.rows()) == 2
    async with metered(hello, tmp_path, customer=False, clock=Wall()) as shell:
        assert await shell.settled() == DOLLAR - 2 * CENT


async def test_a_clock_that_was_set_back_does_not_stop_those_who_are_limited_by_a_rate(
    tmp_path: Path,
) -> None:
    """What came in the future is not waited for."""
    wall = Wall()
    limited = policy(limits=[{"rate": 2, "per": "minute"}])
    async with metered(hello, tmp_path, limited, clock=wall) as shell:
        assert [(await shell.fetch("GET", "/x")).status for _ in range(3)] == [200, 200, 429]
        wall.jump(-30)
        assert [(await shell.fetch("GET", "/x")).status for _ in range(3)] == [200, 200, 429]


async def test_with_a_clock_that_jumps_a_frozen_store_is_still_given_up_in_time(lines: Lines) -> None:
    """Waiting is counted by a clock that nobody sets."""
    wall = Wall()
    async with lines.metered(clock=wall) as service:
        await service.heals()
        for hours in (-30.0, 60.0):
            wall.jump(hours)
            lines.store.delay_s = 60
            status, took = await service.takes()
            assert status == 503 and took < TIMEOUT_S + SLACK_S
            lines.store.delay_s = 0
            lines.store.cut()
            await service.heals()
