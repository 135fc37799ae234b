"""A shared store with a journal in front of it: the same store, and every step can be read after a kill."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metergate.core.hold import standing_op
from metergate.errors import StoreUnavailable
from metergate.ports import DENIED, DONE, GRANTED, UNKNOWN, Settle, answered
from metergate.store.journal import read_placed, segment_numbers
from metergate.store.journalled import Journalled
from metergate.store.journals import Journals
from metergate.store.left import Left
from metergate.testing.conformance import CounterStoreContract, MakeStore
from metergate.testing.conformance.bench import an_event, money
from tests.adapters.redis.stores import a_hold, balance, know, now_us, stores
from tests.store.disk import full_disk
from tests.valkey import Server, command

SMALL = 4096


class TestOnValkey(CounterStoreContract):
    @pytest.fixture
    async def make_store(self, valkey_url: str, tmp_path: Path) -> AsyncIterator[MakeStore]:
        async with stores(valkey_url) as make:

            async def made(backlog: int) -> Journalled:
                return Journalled(await make(backlog), Journals(tmp_path))

            yield made


@asynccontextmanager
async def journalled(url: str, folder: Path) -> AsyncIterator[Journalled]:
    async with stores(url) as make:
        store = Journalled(await make(), Journals(folder), segment_bytes=SMALL)
        await know(store, balance=1000)
        yield store
        store.abandon()


def told(store: Journalled) -> tuple[list[str], list[str], list[str]]:
    """What would be done if the process were killed now: released, charged as unknown, told again."""
    assert store.path is not None
    left = Left(read_placed(store.path))
    unknown = [event.op for event in left.unknown(now_us())]
    return list(left.to_release()), unknown, [event.op for event in left.done()]


def ends(*ops: str) -> list[Settle]:
    return [Settle(op, None, an_event(op)) for op in ops]


async def test_each_step_is_in_the_journal_before_the_next_begins(valkey_url: str, tmp_path: Path) -> None:
    async with journalled(valkey_url, tmp_path) as store:
        assert store.path is None
        holds = [await a_hold(store, op) for op in "ab"]
        asked = store.hold([*holds, await a_hold(store, "dear", money(5000))], now_us())
        assert told(store) == (["a", "b", "dear"], [], [])
        assert [held.status for held in await asked] == [GRANTED, GRANTED, DENIED]
        assert told(store) == ([], ["a", "b"], [])
        single = (await a_hold(store, "c"))._replace(dispatched=False)
        await store.hold([single], now_us())
        assert told(store) == (["c"], ["a", "b"], [])
        store.dispatch("c")
        assert told(store) == ([], ["a", "b", "c"], [])
        asked_end = store.settle(ends("a"), now_us())
        assert told(store) == ([], ["b", "c"], ["a"])
        assert await asked_end == [DONE]
        assert await store.release(["b"], now_us()) == [DONE]
        assert told(store) == (["b"], ["c"], ["a"])


async def test_calls_that_are_taken_up_are_told_as_they_are(valkey_url: str, tmp_path: Path) -> None:
    async with journalled(valkey_url, tmp_path) as store:
        waits = (await a_hold(store, "waits"))._replace(dispatched=False)
        store.take_up([await a_hold(store, "runs"), waits])
        assert told(store) == (["waits"], ["runs"], [])
        store.dispatch("waits")
        assert told(store) == ([], ["runs", "waits"], [])


async def test_what_the_ledger_has_is_forgotten_and_the_rest_is_not(valkey_url: str, tmp_path: Path) -> None:
    async with journalled(valkey_url, tmp_path) as store:
        await store.hold([await a_hold(store, op) for op in "ab"], now_us())
        await store.settle(ends("a"), now_us())
        position, mark = store.told_until(), await store.mark()
        await store.settle(ends("b"), now_us())
        assert not await store.posted(mark)
        (first, _) = await answered(store.drain(2))
        await answered(store.acknowledge([first.id]))
        assert await store.posted(mark)
        store.now_posted(position)
        assert told(store) == ([], [], ["b"])
        assert store.has_unposted
        position, mark = store.told_until(), await store.mark()
        await answered(store.acknowledge([entry.id for entry in await answered(store.drain(2))]))
        assert await store.mark() == ""
        assert await store.posted(mark)
        store.now_posted(position)
        assert not store.has_unposted
        assert told(store) == ([], [], [])


async def test_an_end_that_the_store_has_not_heard_of_is_not_forgotten(
    valkey_url: str, valkey_server: Server, tmp_path: Path
) -> None:
    async with journalled(valkey_url, tmp_path) as store:
        await store.hold([await a_hold(store, "a")], now_us())
        before = store.told_until()
        asked = store.settle(ends("a"), now_us())
        assert store.told_until() == before
        assert await asked == [DONE]
        assert store.told_until() > before
        before = store.told_until()
        assert await store.settle(ends("stray"), now_us()) == [UNKNOWN]
        assert store.told_until() == before
        assert store.astray == ["stray"]
        store.found(["stray"])
        assert store.told_until() > before
        command(valkey_server, "FLUSHALL")
        with pytest.raises(StoreUnavailable):
            await store.settle(ends("b"), now_us())
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.settle(ends("b"), now_us())
        assert told(store) == ([], [], ["a", "stray", "b"])  # once, however often it was tried


async def test_long_calls_move_along_and_the_journal_stays_short(valkey_url: str, tmp_path: Path) -> None:
    async with journalled(valkey_url, tmp_path) as store:
        over = standing_op(now_us() - 1, "over")
        holds = [await a_hold(store, op) for op in ("long", "short", over)]
        holds.append((await a_hold(store, "held"))._replace(dispatched=False))
        await store.hold(holds, now_us())
        for n in range(200):
            op = f"op{n}"
            await store.hold([await a_hold(store, op)], now_us())
            await store.settle(ends(op), now_us())
            store.now_posted(store.told_until())
            store.trim(now_us())
        assert store.path is not None
        assert segment_numbers(store.path)[-1] > 5
        assert len(segment_numbers(store.path)) <= 3
        assert told(store) == (["held"], ["long", "short"], [])
        await store.settle(ends("long", "short"), now_us())
        await store.release(["held"], now_us())
        store.now_posted(store.told_until())
        store.trim(now_us())
        assert store.needed_from() >= store.told_until()


async def test_nothing_is_left_of_a_process_that_is_done(valkey_url: str, tmp_path: Path) -> None:
    async with journalled(valkey_url, tmp_path) as store:
        await store.hold([await a_hold(store, "a")], now_us())
        await store.release(["a"], now_us())
        await store.close()
        assert Journals(tmp_path).all() == []
    async with journalled(valkey_url, tmp_path) as store:
        await store.hold([await a_hold(store, "b")], now_us())
        await store.close()
        (orphan,) = Journals(tmp_path).orphans()
        assert [event.op for event in Left(read_placed(orphan.path)).unknown(now_us())] == ["b"]


async def test_a_journal_without_room_takes_no_calls_and_loses_no_end(
    valkey_url: str, tmp_path: Path
) -> None:
    async with journalled(valkey_url, tmp_path) as store:

        async def fill(names: Iterable[str]) -> list[str]:
            """Make calls until one is not taken; those that were."""
            made: list[str] = []
            for op in names:
                try:
                    await store.hold([await a_hold(store, op)], now_us())
                except StoreUnavailable:
                    await store.release([op], now_us())
                    break
                made.append(op)
            return made

        async def refused(why: str) -> None:
            with pytest.raises(StoreUnavailable, match=why):
                await store.hold([await a_hold(store, "refused")], now_us())

        with full_disk():
            await refused("make room in")
        assert await fill("abc") == ["a", "b", "c"]
        with full_disk():
            made = await fill(f"op{n}" for n in range(1000))
            await refused("make room in")
            for op in "abc":  # calls that run may end, whether there is room or not
                long = Settle(op, None, an_event(op, "/" + "x" * (SMALL // 2)))
                assert await store.settle([long], now_us()) == [DONE]
            await refused("no room for what has ended")
        store.prepare()
        assert await fill(["again"]) == ["again"]
        assert await balance(store) == 1000 - 4 - len(made)
        # After a kill an end that had no room would be told once more, and the store knows it.
        _, unknown, done = told(store)
        assert set(unknown) | set(done) == {"a", "b", "c", *made, "again"}
        assert "c" in unknown
