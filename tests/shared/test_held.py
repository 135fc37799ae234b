"""What an account's open calls may hold together, however many processes serve them."""

import asyncio
import os
import signal

from tests.shared.house import Place, desk, processes
from tests.shared.test_decisions import two
from tests.waiting import until


async def test_fronts_that_race_hold_no_more_than_the_account_may(place: Place) -> None:
    """Each hold is 5.00 of 20.00; those of a process that died count until somebody ends them."""
    async with desk(place) as office, two(place) as (one, other):
        key = await office.customer("racing", plan="bounded")
        ask = {"key": key, "method": "GET", "path": "/rows/a"}
        asked = [each.ask("hold", **ask) for each in (one, other) for _ in range(20)]
        answers = await asyncio.gather(*asked)
        refused = [told for status, told in answers if status != 200]
        assert {told["reason"] for told in refused} == {"too_many_open"}
        assert refused[0]["detail"].startswith("Open calls of this account hold 20.00 of at most 20.00 USD;")
        held = [told["hold"] for status, told in answers if status == 200]
        assert len(held) == 4
        os.kill(one.process.pid, signal.SIGKILL)
        assert (await other.ask("hold", **ask))[0] == 429
        assert (await other.ask("settle", hold=held[0], units=9))[0] == 200
        assert (await other.ask("release", hold=held[1]))[0] == 200
        again = await asyncio.gather(*[other.ask("hold", **ask) for _ in range(20)])
        assert sorted(status for status, _ in again) == [200] * 2 + [429] * 18
        for hold in (*held[2:], *[told["hold"] for status, told in again if status == 200]):
            assert (await other.ask("release", hold=hold))[0] == 200
        assert await office.balance("racing") == "991.00"
        await office.proven()


async def test_what_a_dead_process_held_is_given_back(place: Place) -> None:
    """Its calls are ended by whoever lives, and then there is room again."""
    async with desk(place) as office:
        key = await office.customer("widowed", plan="bounded")
        with processes(place, 2) as (one, other):
            async with one.client(key) as client, other.client(key) as alive:
                calls = [asyncio.ensure_future(client.get("/sevens/widow?wait=60")) for _ in range(2)]
                await until(lambda: place.reached()["/sevens/widow"] == 2)
                refused = await alive.get("/sevens/widow")
                assert (refused.status_code, refused.json()["reason"]) == (429, "too_many_open")
                one.signal(signal.SIGKILL)

                async def there_is_room() -> bool:
                    return (await alive.get("/sevens/widow")).status_code == 200

                await until(there_is_room)
                await asyncio.gather(*calls, return_exceptions=True)
                await office.has_used("widowed", 3)
                await office.proven()
