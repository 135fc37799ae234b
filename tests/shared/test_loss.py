"""A store that lost what it held: nobody is let in until it is filled from the ledger, and nobody gains."""

import asyncio

from tests.servers.serving import DEADLINE_S
from tests.shared.house import Load, Place, Process, desk, until, valkey_says
from tests.valkey import Server as Valkey


async def test_an_emptied_store_is_filled_by_itself(
    three: list[Process], place: Place, valkey: Valkey
) -> None:
    """In the middle of traffic. What was settled and not yet in the ledger is lost, and nothing else."""
    async with desk(place) as office:
        key = await office.customer("emptied", "1000000")
        revoked = await office.customer("revoked")
        await office.ask("keys.revoke", kid=revoked[8:18])
        posted = 0
        async with Load(three, "/ones/emptied", key) as load:
            for _ in range(3):
                await load.goes_on(200, 60)
                posted = await office.units("emptied")
                assert valkey_says(valkey, "FLUSHALL") == b"+OK"
                await load.goes_on(200, 60)
        assert set(load.statuses) <= {200, 503}
        units = await office.units("emptied")
        reached = place.reached()["/ones/emptied"]
        assert reached == load.statuses[200]
        assert posted <= units <= reached
        assert await office.balance("emptied") == f"{1_000_000 - units}.00"
        for server in three:
            async with server.client(revoked) as client:
                assert (await client.get("/ones/revoked")).status_code == 401
        assert place.reached()["/ones/revoked"] == 0
        await office.proven()


async def test_calls_that_run_while_the_store_is_emptied_are_charged_once(
    three: list[Process], place: Place, valkey: Valkey
) -> None:
    """And what they hold is set aside again, so that nobody spends it meanwhile."""
    async with desk(place) as office:
        key = await office.customer("running", "9")
        clients = [server.client(key) for server in three]
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            calls = [
                group.create_task(client.get("/ones/running?wait=2")) for client in clients for _ in range(2)
            ]

            async def all_run() -> bool:
                return place.reached()["/ones/running"] == 6

            await until(all_run)
            assert valkey_says(valkey, "FLUSHALL") == b"+OK"

            async def held_again() -> bool:
                told = await office.ask("credits.show", account="running")
                return bool(told["balance"]["nanos"] == 3 * 10**9)

            await until(held_again)
        assert {call.result().status_code for call in calls} == {200}
        for client in clients:
            assert [(await client.get("/ones/running")).status_code for _ in range(1)] == [200]
            assert (await client.get("/sevens/running")).status_code == 402
            await client.aclose()
        assert await office.units("running") == 9 == place.reached()["/ones/running"]
        assert await office.balance("running") == "0.00"
        await office.proven()
