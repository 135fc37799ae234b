"""A PostgreSQL that goes away, kills sessions, loses answers, or takes nothing more: calls go on, and each is
in the ledger once when it is over."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.harness.lines import FAST_S, HEALS_S, Lines, Service, Wall
from tests.faults.harness.wire import Fault
from tests.shell import policy
from tests.waiting import needs_no_more_than, until

BACKLOG = 12


async def backlog_is_told(service: Service) -> None:
    async def down() -> bool:
        return bool(service.shell.engine.foundation.worker.outage)

    await until(down, "the worker does not notice")


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.HALF_REPLY])
async def test_a_commit_whose_answer_is_lost_posts_nothing_twice(lines: Lines, fault: Fault) -> None:
    """Whether the database has heard of it or not."""
    async with lines.metered() as service:
        for _ in range(3):
            lost = lines.ledger.trap(b"COMMIT", fault)
            assert [await service.call() for _ in range(4)] == [200] * 4

            await asyncio.wait_for(lost.wait(), HEALS_S)
        await service.heals()


async def test_sessions_that_are_ended_in_the_middle_of_their_work_begin_again(lines: Lines) -> None:
    async with lines.metered() as service:
        for _ in range(5):
            assert [await service.call() for _ in range(5)] == [200] * 5
            lines.end_sessions()
        await service.heals()


async def test_an_hour_without_the_ledger_keeps_everything_and_forgets_nothing(lines: Lines) -> None:
    """Calls go on until so many wait as the policy allows; then 503. What waits is never dropped."""
    wall = Wall()
    async with lines.metered(policy(backlog=BACKLOG), clock=wall) as service:
        await service.heals()
        lines.ledger.refusing = True
        lines.ledger.cut()
        assert [await service.call() for _ in range(BACKLOG)] == [200] * BACKLOG
        await backlog_is_told(service)
        wall.jump(1)
        await needs_no_more_than(FAST_S, service.call, 503)
        await service.serves_unmetered()
        assert service.shell.engine.foundation.store.health().backlog == BACKLOG
        assert (await service.shell.engine.office.do("metrics", {}))["backlog"] == BACKLOG
        wall.jump(1)
        assert service.shell.engine.foundation.store.health().backlog == BACKLOG
        lines.ledger.refusing = False
        await service.heals()


async def test_a_ledger_that_may_only_be_read_is_an_outage_like_others(lines: Lines) -> None:
    async with lines.metered() as service:
        await service.heals()
        with setting(lines, "default_transaction_read_only", "on"):
            assert [await service.call() for _ in range(5)] == [200] * 5
            await backlog_is_told(service)
            assert await service.call() == 200
        await service.heals()


async def test_a_ledger_on_a_full_disk_is_an_outage_like_others(lines: Lines) -> None:
    """PostgreSQL says so with the error that it has for it."""
    async with lines.metered() as service:
        await service.heals()
        lines.sql(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'could not extend file: No space left' USING ERRCODE = '53100'; END$$"
        )
        lines.sql("CREATE TRIGGER full_disk BEFORE INSERT ON usage EXECUTE FUNCTION full_disk()")
        assert [await service.call() for _ in range(5)] == [200] * 5
        await backlog_is_told(service)
        assert await service.call() == 200
        assert service.shell.engine.foundation.ledger.set_aside == 0
        lines.sql("DROP TRIGGER full_disk ON usage")
        await service.heals()


async def test_a_ledger_that_never_answers_stops_no_call(lines: Lines) -> None:
    async with lines.metered() as service:
        await service.heals()
        lines.ledger.delay_s = 60
        assert [await service.call() for _ in range(5)] == [200] * 5
        await service.serves_unmetered()
        lines.ledger.delay_s = 0
        lines.ledger.cut()
        await service.heals()


@contextmanager
def setting(lines: Lines, name: str, value: str) -> Iterator[None]:
    """A setting of the database, which every session begins with from now on."""
    (database,) = lines.sql("SELECT current_database()")[0]
    lines.sql(f"ALTER DATABASE {database} SET {name} TO {value}")
    lines.end_sessions()
    yield
    lines.sql(f"ALTER DATABASE {database} RESET {name}")
    lines.end_sessions()
