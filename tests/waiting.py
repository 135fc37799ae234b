"""Waiting for what surely comes: no story sleeps for a while, and none waits for ever."""

import asyncio
import time
from collections.abc import Awaitable, Callable

DEADLINE_S = 60.0
"""So late may a busy machine be; a story that is not late waits no longer than it must."""
PAUSE_S = 0.005
TRIES = 10


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    problem: str = "it did not come to that",
    seconds: float = DEADLINE_S,
) -> None:
    deadline = time.monotonic() + seconds
    while not await _holds(condition()):
        assert time.monotonic() < deadline, problem
        await asyncio.sleep(PAUSE_S)


async def needs_no_more_than(seconds: float, call: Callable[[], Awaitable[int]], status: int = 200) -> None:
    """Always this answer, and the quickest of several that quick: a busy machine is slow now and then."""
    for _ in range(TRIES):
        began = time.monotonic()
        assert await call() == status
        if time.monotonic() - began < seconds:
            return
    raise AssertionError(f"none of {TRIES} answers came within {seconds} s")


async def _holds(found: bool | Awaitable[bool]) -> bool:
    return found if isinstance(found, bool) else await found
