"""What goes wrong between a process and its server, and what becomes of the calls."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from metergate.core.facts import AccountFacts
from metergate.errors import StoreUnavailable
from metergate.ports import DONE, ENDED, GRANTED, PutAccount
from metergate.testing.conformance.bench import money
from metergate_redis import RedisStore
from metergate_redis.address import parse
from tests.adapters.redis.stores import (
    MakeStores,
    a_hold,
    again,
    balance,
    held,
    know,
    now_us,
    settled,
    stores,
)
from tests.valkey import Server, command
from tests.waiting import until


@pytest.fixture
async def make(server: Server) -> AsyncIterator[MakeStores]:
    async with stores(f"{server.url}?timeout=300ms") as make:
        yield make


@pytest.fixture
async def store(make: MakeStores) -> RedisStore:
    made = await make()
    await know(made, balance=100)
    return made


async def test_a_server_that_has_forgotten_the_scripts_is_told_again(
    store: RedisStore, server: Server
) -> None:
    hold = await a_hold(store, "a")
    command(server, "SCRIPT", "FLUSH")
    assert [each.status for each in await held(store, hold)] == [GRANTED]
    command(server, "SCRIPT", "FLUSH")
    assert await balance(store) == 99
    command(server, "SCRIPT", "FLUSH")
    assert await settled(store, "a") == [DONE]
    assert await balance(store) == 99


async def test_a_frozen_server_is_given_up_within_the_deadline_and_charges_nobody(
    store: RedisStore, server: Server
) -> None:
    """What it had taken in before it froze may be taken when it thaws; whoever asked gives it back."""
    assert server.process is not None
    holds = [await a_hold(store, f"op-{n}", money(7)) for n in range(5)]
    os.kill(server.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    answers = await asyncio.gather(*[held(store, hold) for hold in holds], return_exceptions=True)
    assert {type(each) for each in answers} == {StoreUnavailable}
    assert time.monotonic() - began < 1
    with pytest.raises(StoreUnavailable, match="did not answer within"):
        store.hold(holds, 0)
    assert not store.health().ok
    os.kill(server.process.pid, signal.SIGCONT)
    await again(lambda: store.release([hold.op for hold in holds], now_us()))
    assert [each.status for each in await held(store, *holds)] == [ENDED] * 5
    assert await balance(store) == 100
    assert store.health().open_holds == 0


async def test_a_server_that_was_killed_and_started_again_has_lost_nothing(
    store: RedisStore, server: Server
) -> None:
    await held(store, await a_hold(store, "a"), await a_hold(store, "b"))
    await settled(store, "a")
    late = await a_hold(store, "late")
    server.kill()
    with pytest.raises(StoreUnavailable):
        await held(store, late)
    with pytest.raises(StoreUnavailable):
        await balance(store)
    server.start()
    assert await again(lambda: balance(store)) == 98
    assert await settled(store, "a", "b") == [DONE, DONE]
    assert store.health().backlog == 2


async def test_a_server_that_is_still_reading_its_data_is_waited_for(
    store: RedisStore, server: Server
) -> None:
    many = [PutAccount(AccountFacts(f"a{n}")) for n in range(8000)]
    assert set(await store.sync(many, now_us())) == {DONE}
    server.kill()
    server.options = (*server.options, "--key-load-delay", "60")
    starting = asyncio.ensure_future(asyncio.to_thread(server.start))
    await until(lambda: "LOADING" in store.health().detail)
    await starting
    assert await again(lambda: balance(store)) == 100


async def test_whoever_leaves_while_it_waits_disturbs_nobody(store: RedisStore) -> None:
    """The others hear their own answers; what was held for it can be given back."""
    holds = [await a_hold(store, f"op-{n}", money(n)) for n in range(1, 5)]
    asked = [asyncio.ensure_future(held(store, hold)) for hold in holds]
    await asyncio.sleep(0)
    asked[1].cancel()
    first, left, third, fourth = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(left, asyncio.CancelledError)
    assert [each[0].values for each in (first, third, fourth) if isinstance(each, list)] == [
        (99,),
        (94,),
        (90,),
    ]
    assert list(await store.release(["op-2"], now_us())) == [DONE]
    assert await balance(store) == 92


async def test_a_full_server_holds_nothing_more_but_takes_every_end(
    store: RedisStore, server: Server
) -> None:
    holds = [await a_hold(store, f"op-{n}") for n in range(3)]
    assert {each.status for each in await held(store, holds[0], holds[1])} == {GRANTED}
    command(server, "CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="is full"):
        await held(store, holds[2])
    assert await settled(store, "op-0") == [DONE]
    assert list(await store.release(["op-1"], 0)) == [DONE]
    assert len(await store.drain(10)) == 1
    command(server, "CONFIG", "SET", "maxmemory", "0")
    assert await balance(store) == 99
    assert (await held(store, holds[2]))[0].status == GRANTED


async def test_in_one_turn_a_full_server_takes_the_ends_and_no_holds(
    store: RedisStore, server: Server
) -> None:
    first, second = await a_hold(store, "first"), await a_hold(store, "second")
    await held(store, first)
    command(server, "CONFIG", "SET", "maxmemory", "1")
    ending, asked = settled(store, "first"), store.hold((second,), 0)
    assert list(await ending) == [DONE]
    with pytest.raises(StoreUnavailable, match="is full"):
        await asked
    command(server, "CONFIG", "SET", "maxmemory", "0")
    assert await balance(store) == 99
    assert store.health().backlog == 1


async def test_no_room_for_another_connection_is_not_taken_for_an_outage(
    make: MakeStores, store: RedisStore, server: Server
) -> None:
    """Who is connected goes on, and who is not hears why."""
    command(server, "CONFIG", "SET", "maxclients", "1")
    with pytest.raises(StoreUnavailable, match="room for one more"):
        await make()
    assert (await held(store, await a_hold(store, "a")))[0].status == GRANTED


async def test_nobody_waits_for_ever_for_an_answer_that_makes_no_sense(
    store: RedisStore, server: Server, tmp_path: Path
) -> None:
    """What stands between the two may answer in the server's place; the next connection is tried."""
    async with between(server, tmp_path / "between") as (url, garble):
        other = RedisStore(parse(f"{url}?timeout=300ms"))
        await other.connect()
        other.enter("first")
        holds = [await a_hold(other, "a")]
        for nonsense in (b":1\r\n", b"$4\r\nK1 0\r\n", b"$10\r\nK1 0 0\nD\nD\r\n", b"no answer\r\n"):
            await until(lambda: other.health().ok)
            garble.append(nonsense)
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(held(other, *holds), 5)
        assert await again(lambda: other.release(["a"], now_us()))
        await other.close()
    assert await balance(store) == 100


@asynccontextmanager
async def between(server: Server, path: Path) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A place between a process and the server, where an answer is replaced by what lies in the list."""
    garble: list[bytes] = []

    async def passes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        while data := await reader.read(65536):
            writer.write(garble.pop() if back and garble else data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_unix_connection(server.socket)
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(passes(reader, ahead, back=False), passes(behind, writer, back=True))

    listening = await asyncio.start_unix_server(serve, path)
    async with listening:
        yield f"redis+unix://{path}", garble
