"""`uvicorn --workers 4` with one line of middleware: one set of credits, and nothing else to set up."""

import os
import signal
from collections.abc import Iterator

import httpx2
import pytest

from tests.shared.house import Place, Process, burst, desk, processes
from tests.waiting import until


@pytest.fixture(scope="module")
def served(place: Place) -> Iterator[Process]:
    with processes(place, 1, "--workers", "4") as (process,):
        yield process


async def pid(server: Process, key: str, path: str = "/ones/pids") -> int:
    """Which of the processes has answered a call on a connection of its own."""
    async with server.client(key) as client:
        answer = await client.get(path)
        assert answer.status_code == 200
        return int(answer.json()["pid"])


async def test_four_processes_share_one_account_to_the_last_credit(served: Process, place: Place) -> None:
    async with desk(place) as office:
        key = await office.customer("four")
        assert await burst([served], "/sevens/four", [key], 48) == {200: 142, 402: 48}
        assert place.reached()["/sevens/four"] == 142
        await office.has_used("four", 142)
        assert await office.balance("four") == "6.00"
        await office.proven()
    assert "Error" not in place.log.read_text()


async def test_one_that_is_killed_is_followed_by_another(served: Process, place: Place) -> None:
    """All four serve, one dies, and its successor serves the same account."""
    async with desk(place) as office:
        key = await office.customer("pids")
        pids: set[int] = set()

        async def four() -> bool:
            pids.add(await pid(served, key))
            return len(pids) == 4

        async def all_is_posted() -> bool:
            return await office.units("pids") == place.reached()["/ones/pids"]

        async def another() -> bool:
            try:
                return await pid(served, key) not in pids
            except httpx2.TransportError:
                return False

        await until(four)
        await until(all_is_posted)
        os.kill(min(pids), signal.SIGKILL)
        await until(another)
        await until(all_is_posted)
        await office.proven()
