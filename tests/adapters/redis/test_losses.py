"""A server that was emptied, rolled back or replaced is noticed, and nothing is done to it."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metergate.core.facts import AccountFacts
from metergate.errors import StoreUnavailable
from metergate.ports import DONE, GRANTED, STALE, UNKNOWN, Adjust, PutAccount, Standing
from metergate.testing.conformance.bench import money
from metergate.wire import decode_events
from metergate_redis import RedisStore
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
from tests.valkey import Server, command, valkey_binary, watched
from tests.waiting import until


@pytest.fixture(params=["", "shards=3"], ids=["one shard", "three shards"])
async def make(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[MakeStores]:
    query = f"?{request.param}" if request.param else ""
    async with stores(f"{server.url}{query}") as make:
        yield make


@pytest.fixture
async def store(make: MakeStores) -> RedisStore:
    made = await make()
    await know(made, balance=100)
    return made


async def filled(store: RedisStore, epoch: str, balance: int) -> None:
    """What one process does for all, once it has the outbox in the ledger."""
    await store.begin(epoch)
    await store.fill(epoch, [PutAccount(AccountFacts("acct"), balance)], now_us())
    await store.reopen(epoch)


async def test_an_emptied_server_is_not_an_account_without_credits(
    make: MakeStores, store: RedisStore, server: Server
) -> None:
    other = await make()
    hold = await a_hold(store, "a")
    command(server, "FLUSHALL")
    with pytest.raises(StoreUnavailable, match="emptied"):
        await balance(store)
    with pytest.raises(StoreUnavailable, match="emptied"):
        await held(store, hold)
    assert (store.epoch, store.health().ok) == ("", False)
    assert not (await store.standing()).open
    await until(lambda: other.epoch == "")


async def test_what_was_filled_is_entered_and_goes_on(store: RedisStore, server: Server) -> None:
    command(server, "FLUSHALL")
    assert await store.standing() == Standing("", False, (0,) * len(store.sequence))
    await filled(store, "second", 70)
    standing = await store.standing()
    assert (standing.epoch, standing.open) == ("second", True)
    with pytest.raises(StoreUnavailable):
        await balance(store)
    store.enter("second", standing.sequence)
    assert await balance(store) == 70
    assert (await held(store, await a_hold(store, "b")))[0].status == GRANTED


async def test_while_it_is_filled_nobody_is_served(make: MakeStores, store: RedisStore) -> None:
    other = await make()
    hold = await a_hold(other, "a")
    await held(other, await a_hold(other, "open"))
    await store.begin("second")
    for use in (held(other, hold), settled(other, "open"), balance(other), other.drain(1), know(other)):
        with pytest.raises(StoreUnavailable):
            await use
    assert not (await other.standing()).open
    await store.reopen("second")
    other.enter("second")
    assert (await held(other, hold))[0].status == STALE
    assert await settled(other, "open") == [UNKNOWN]
    assert await balance(other) is None


async def test_the_outbox_outlives_the_epoch_whoever_had_drained_it(
    make: MakeStores, store: RedisStore
) -> None:
    other = await make()
    for op in "abc":
        await held(store, await a_hold(store, op))
        await settled(store, op)
    assert len(await other.drain(2)) == 2
    oldest = await store.unposted()
    assert oldest is not None
    assert [event.op for event in decode_events(oldest.events)] == ["a"]
    await store.begin("second")
    left = await store.left_over("second", 2)
    assert [event.op for entry in left for event in decode_events(entry.events)] == ["a", "b"]
    await store.discard("second", [entry.id for entry in left])
    assert len(await store.left_over("second", 10)) == 1
    await store.reopen("second")
    other.enter("second")
    assert [event.op for entry in await other.drain(9) for event in decode_events(entry.events)] == ["c"]
    await other.standing()
    assert other.health().backlog == 1


async def test_whoever_fills_another_epoch_changes_nothing(store: RedisStore) -> None:
    await store.begin("second")
    await store.begin("third")
    for late in (
        store.fill("second", [PutAccount(AccountFacts("acct"), 5)], now_us()),
        store.left_over("second", 1),
        store.discard("second", ["1-1"]),
        store.reopen("second"),
    ):
        with pytest.raises(StoreUnavailable):
            await late
    assert await store.standing() == Standing("third", False, (await store.standing()).sequence)


async def test_an_adjustment_is_remembered_as_long_as_the_epoch(store: RedisStore) -> None:
    grant = Adjust("grant:1", "acct", 5)
    assert list(await store.sync([grant, grant], now_us())) == [DONE, DONE]
    assert await balance(store) == 105
    await filled(store, "second", 105)
    store.enter("second")
    assert list(await store.sync([Adjust("grant:2", "acct", 1)], now_us())) == [DONE]
    assert await balance(store) == 106


async def test_facts_that_come_late_change_nothing(store: RedisStore) -> None:
    newer, older = AccountFacts("acct", "new", version=8), AccountFacts("acct", "old", version=7)
    assert list(await store.sync([PutAccount(newer)], now_us())) == [DONE]
    hold = await a_hold(store, "a")
    assert list(await store.sync([PutAccount(older)], now_us())) == [DONE]
    assert (await held(store, hold))[0].status == GRANTED


async def test_a_store_behind_what_was_seen_of_it_is_not_served(store: RedisStore) -> None:
    """As for a process that starts, and whose ledger knows how far the store had been."""
    (ahead, *rest) = store.sequence
    store.enter("first", (ahead + 1000, *rest))
    holds = [await again_or_none(store, account) for account in ("acct", "b", "c", "d", "e")]
    assert None in holds
    assert store.epoch == ""


async def again_or_none(store: RedisStore, account: str) -> object:
    try:
        return await store.sync([PutAccount(AccountFacts(account))], now_us())
    except StoreUnavailable:
        return None


async def closed(store: RedisStore) -> None:
    """The store says of itself that it serves nobody, as soon as it is reached again."""
    standing = await again(store.standing)
    assert isinstance(standing, Standing)
    assert (standing.epoch, standing.open) == ("first", False)


def roll_back(server: Server, kept: Path) -> None:
    """Put an earlier state of the data in the place of what is there."""
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.copytree(kept, server.folder / "appendonlydir")
    server.start()


def keep(server: Server, folder: Path) -> Path:
    kept = folder / "kept"
    shutil.copytree(server.folder / "appendonlydir", kept)
    return kept


async def test_a_server_that_lost_its_last_changes_is_closed_for_all(
    make: MakeStores, store: RedisStore, server: Server, tmp_path: Path
) -> None:
    other = await make()
    kept = keep(server, tmp_path)
    await held(store, await a_hold(store, "a", money(60)))
    roll_back(server, kept)
    await until(lambda: store.epoch == "" and other.epoch == "")
    await closed(store)
    await filled(store, "second", 40)
    other.enter("second")
    assert await balance(other) == 40


async def test_a_loss_is_noticed_also_when_others_have_gone_on_since(
    make: MakeStores, store: RedisStore, server: Server, tmp_path: Path
) -> None:
    """Whoever saw the lost changes comes last, when the sequence is higher again."""
    kept = keep(server, tmp_path)
    await held(store, await a_hold(store, "lost", money(60)))
    server.kill()
    await until(lambda: not store.health().ok)
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.copytree(kept, server.folder / "appendonlydir")
    server.port, real = 0, server.port
    hidden, server.socket = server.socket, server.folder / "hidden"
    server.start()
    async with stores(store_url(server, store)) as elsewhere:
        stranger = await elsewhere()
        for n in range(5):
            await know(stranger, f"acct-{n}", 10)
        server.kill()
        server.port, server.socket = real, hidden
        server.start()
    await until(lambda: store.health().ok or store.epoch == "")
    assert store.epoch == ""
    await closed(store)


def store_url(server: Server, like: RedisStore) -> str:
    shards = len(like.sequence)
    return f"{server.url}?shards={shards}"


async def test_when_sentinels_make_a_replica_master_calls_go_on_there() -> None:
    with watched(valkey_binary()) as servers:
        async with stores(f"{servers.url}?timeout=500ms") as make:
            store = await make()
            await know(store, balance=100)
            assert (await held(store, await a_hold(store, "before")))[0].status == GRANTED
            command(servers.master, "WAIT", "1", "5000")
            servers.master.kill()
            assert await again(lambda: balance(store), 20) == 99
            assert await settled(store, "before") == [DONE]
            assert (await held(store, await a_hold(store, "after")))[0].status == GRANTED
            assert await balance(store) == 98


async def test_what_a_failover_lost_is_noticed() -> None:
    with watched(valkey_binary()) as servers:
        async with stores(f"{servers.url}?timeout=500ms") as make:
            store = await make()
            await know(store, balance=100)
            command(servers.master, "WAIT", "1", "5000")
            # The replica is cut off, and may not come back.
            command(servers.master, "CONFIG", "SET", "requirepass", "secret")
            command(servers.replica, "REPLICAOF", "NO", "ONE")
            lost = await held(store, await a_hold(store, "lost", money(60)))
            servers.master.kill()
            await until(lambda: store.epoch == "")
            assert lost[0].values == (40,)
            await closed(store)
