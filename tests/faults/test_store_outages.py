"""The store on a network that fails: 503 in time, nothing charged that was not served, nothing twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from metergate_redis import RedisStore
from tests.faults import naive
from tests.faults.harness.lines import SLACK_S, TIMEOUT_S, Lines, Service
from tests.faults.harness.wire import Fault
from tests.valkey import command
from tests.waiting import until

SCRIPT = b"EVALSHA"


@pytest.mark.parametrize("fault", Fault)
async def test_a_hold_whose_answer_is_lost_is_refused_and_costs_nothing(lines: Lines, fault: Fault) -> None:
    """Whether the store has heard of it or not."""
    async with lines.metered() as service:
        assert await answer_to_a_lost_hold(service, lines, fault) == 503
        await service.heals()


async def test_a_client_that_asks_again_under_no_id_does_not_pass_that(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisStore, "hold", naive.asked_again_under_no_id(RedisStore.hold))
    async with lines.metered() as service:
        assert await answer_to_a_lost_hold(service, lines, Fault.LOSE_REPLY) == 200
        with pytest.raises(AssertionError, match="the books are not in order"):
            await service.heals(seconds=5)


async def answer_to_a_lost_hold(service: Service, lines: Lines, fault: Fault) -> int:
    await service.heals()
    lost = lines.store.trap(b"acct", fault)
    status, took = await service.takes()
    assert lost.is_set() and took < TIMEOUT_S + SLACK_S
    await service.serves_unmetered()
    return status


@pytest.mark.parametrize("fault", Fault)
async def test_an_end_whose_answer_is_lost_is_told_again_and_charged_once(lines: Lines, fault: Fault) -> None:
    async with lines.metered() as service:
        await service.heals()
        before = service.served.count
        lost = asyncio.Event()

        async def trapped() -> None:
            """The next that the gate says to the store is how this call has ended."""
            nonlocal lost
            service.served.gate = None
            lost = lines.store.trap(b"/x/ended", fault)

        service.served.gate = trapped
        assert await service.call("/x/ended") == 200
        await asyncio.wait_for(lost.wait(), 5)
        assert service.served.count == before + 1
        await service.heals()


async def test_a_client_that_tries_again_by_itself_would_be_noticed(lines: Lines) -> None:
    """What redis-py does unless it is told otherwise, with a script that knows no ids."""
    async with Redis(unix_socket_path=str(lines.store.here)) as client:
        await client.set("naive", 10)
        charge = client.register_script("return redis.call('DECRBY', KEYS[1], ARGV[1])")
        assert await charge(keys=["naive"], args=[1]) == 9
        lost = lines.store.trap(SCRIPT, Fault.LOSE_REPLY)
        await charge(keys=["naive"], args=[1])
        assert lost.is_set()
        assert await client.get("naive") == b"7"


async def test_a_slow_store_makes_calls_slow_and_nothing_else(lines: Lines) -> None:
    async with lines.metered() as service:
        await service.heals()
        lines.store.delay_s = TIMEOUT_S / 2
        status, took = await service.takes()
        assert status == 200 and took > TIMEOUT_S / 2
        await service.serves_unmetered()
        lines.store.delay_s = 2 * TIMEOUT_S
        await service.refuses_in_time()
        lines.store.delay_s = 0
        await service.heals()


async def test_a_store_that_pauses_its_clients_is_given_up_in_time(lines: Lines) -> None:
    async with lines.metered() as service:
        await service.heals()
        command(lines.valkey, "CLIENT", "PAUSE", "1500", "ALL")
        await service.refuses_in_time()
        await service.heals()


async def test_a_store_that_lets_nobody_in_is_found_again(lines: Lines) -> None:
    async with lines.metered() as service:
        await service.heals()
        lines.store.refusing = True
        lines.store.cut()
        await service.refuses_in_time()
        await service.refuses_in_time()
        lines.store.refusing = False
        await service.heals()


async def test_a_flood_of_connections_is_no_outage(lines: Lines) -> None:
    """Who is connected is served; who has to connect anew is refused until there is room."""
    async with lines.metered() as service:
        await service.heals()
        async with flood(lines):
            assert await service.call() == 200
        async with flood(lines) as crowd:
            lines.store.cut()
            await crowd()
            await service.refuses_in_time()

            async def says_so() -> bool:
                return "maxclients" in service.shell.engine.foundation.store.health().detail

            await until(says_so, "nobody says that the server has no room")
        await service.heals()


@asynccontextmanager
async def flood(lines: Lines) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The server is full; called, strangers take the room of those who leave."""
    taken: list[asyncio.StreamWriter] = []

    async def crowd() -> None:
        for _ in range(20):
            _, writer = await asyncio.open_unix_connection(lines.valkey.socket)
            taken.append(writer)

    reader, own = await asyncio.open_unix_connection(lines.valkey.socket)

    async def let_in(clients: int) -> None:
        own.write(b"CONFIG SET maxclients %d\r\n" % clients)
        assert await reader.readline() == b"+OK\r\n"

    there = int(command(lines.valkey, "INFO", "clients").partition(b"connected_clients:")[2].split()[0])
    await let_in(there - 1)  # one of them was who asked
    try:
        yield crowd
    finally:
        await let_in(10_000)
        for writer in (own, *taken):
            writer.transport.abort()


async def test_many_calls_at_once_with_a_frozen_store_are_all_refused_in_time(lines: Lines) -> None:
    """None of them waits behind the others, and none holds anything afterwards."""
    async with lines.metered() as service:
        await service.heals()
        lines.store.delay_s = 60
        answers = await asyncio.gather(*[service.takes() for _ in range(200)])
        assert {status for status, _ in answers} == {503}
        assert max(took for _, took in answers) < TIMEOUT_S + 2 * SLACK_S
        await service.serves_unmetered()
        lines.store.delay_s = 0
        lines.store.cut()
        await service.heals()
