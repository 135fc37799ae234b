"""How a server is met: signed in to, looked at, and spoken to over whatever leads there."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from metergate.errors import ConfigurationError, StoreUnavailable
from metergate.ports import DONE, GRANTED
from metergate_redis import RedisStore
from metergate_redis.address import parse
from metergate_redis.inspection import OTHERS, UNBOUNDED, UNCONFIRMED
from metergate_redis.servers import slot_of
from tests.adapters.redis.stores import a_hold, again, balance, held, know, settled, stores
from tests.ports import free_port
from tests.valkey import KEEPING, Server, cluster, command, redis_binary, running, valkey_binary
from tests.waiting import until


def part_of_a_cluster() -> tuple[str, ...]:
    return *KEEPING, "--cluster-enabled", "yes", "--cluster-port", str(free_port())


async def refused(url: str, *, strict: bool = False) -> Exception:
    """What is said where the store may not be used."""
    store = RedisStore(parse(url), strict=strict)
    try:
        await store.connect()
    except (ConfigurationError, StoreUnavailable) as error:
        return error
    finally:
        await store.close()
    raise AssertionError("it was let in")


async def test_a_server_that_may_throw_balances_away_is_refused(server: Server) -> None:
    command(server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    error = await refused(server.url)
    assert isinstance(error, ConfigurationError)
    assert "maxmemory-policy noeviction" in str(error)


async def test_a_server_that_keeps_nothing_is_used_and_its_health_says_so() -> None:
    with running(valkey_binary(), ("--save", "")) as server:
        async with stores(server.url) as make:
            health = (await make()).health()
    assert health.ok
    assert "appendonly yes" in health.detail


STRICT = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory", "64mb")
WARNED = {
    "no append-only file": (("--save", ""), "writes no append-only file", True),
    "synced by the system": ((*STRICT, "--appendfsync", "no"), "appendfsync everysec, or always", True),
    "synced a second later": ((*STRICT, "--appendfsync", "everysec"), "", True),
    "no bound": ((*STRICT, "--maxmemory", "0"), "set maxmemory below", False),
    "silent": ((*STRICT, "--rename-command", "CONFIG", ""), "CONFIG is not allowed", False),
    "fine": (STRICT, "", False),
}


@pytest.mark.parametrize("name", WARNED)
async def test_settings_that_may_lose_something_are_told_and_refused_where_it_is_strict(name: str) -> None:
    options, sentence, refuses = WARNED[name]
    with running(valkey_binary(), options) as server:
        async with stores(server.url) as make:
            warnings = (await make()).health().warnings
        assert any(sentence in each for each in warnings) if sentence else warnings in ((), (UNBOUNDED,))
        if refuses:
            error = await refused(server.url, strict=True)
            assert isinstance(error, ConfigurationError)
            assert "With profile: strict" in str(error)
        else:
            store = RedisStore(parse(server.url), strict=True)
            await store.connect()
            assert abs(await store.time_us() - time.time_ns() // 1000) < 10**6
            await store.close()


async def test_replicas_that_nobody_waits_for_and_keys_of_others_are_told(server: Server) -> None:
    command(server, "SET", "somebody:else", "1")
    with running(valkey_binary(), (*KEEPING, "--replicaof", f"127.0.0.1 {server.port}")):
        await until(lambda: "connected_slaves:1" in str(command(server, "INFO", "replication")))
        async with stores(server.url) as make:
            warnings = (await make()).health().warnings
    assert UNCONFIRMED in warnings
    assert OTHERS in warnings


async def test_a_replica_is_no_place_for_counters(server: Server) -> None:
    with running(valkey_binary(), (*KEEPING, "--replicaof", f"127.0.0.1 {server.port}")) as replica:
        assert "is a replica" in str(await refused(replica.url))


async def test_a_part_of_a_cluster_is_not_used_alone() -> None:
    with running(valkey_binary(), part_of_a_cluster()) as part:
        assert "redis+cluster://" in str(await refused(part.url))


async def test_nobody_there_is_said_with_the_place() -> None:
    assert "127.0.0.1:1 cannot be reached" in str(await refused("redis://127.0.0.1:1"))
    assert "No sentinel at 127.0.0.1:1" in str(await refused("redis+sentinel://127.0.0.1:1/money"))
    assert "No server at 127.0.0.1:1" in str(await refused("redis+cluster://127.0.0.1:1"))


async def test_user_and_password_open_the_door_and_no_more_than_it_needs(server: Server) -> None:
    """A user who may touch the keys of metergate only, and no dangerous command, is enough."""
    rules = ("on", ">s3cret", "~{mg:*", "+@all", "-@dangerous", "-@admin", "+info")
    command(server, "ACL", "SETUSER", "gate", *rules)
    command(server, "ACL", "SETUSER", "default", "off")
    url = f"redis://gate:s3cret@127.0.0.1:{server.port}"
    async with stores(url) as make:
        store = await make()
        await know(store, balance=5)
        assert (await held(store, await a_hold(store, "a")))[0].status == GRANTED
    wrong = await refused(url.replace("s3cret", "other"))
    assert isinstance(wrong, ConfigurationError)
    assert "does not let metergate in" in str(wrong)
    assert "does not let metergate in" in str(await refused(server.tcp_url))


async def test_databases_and_ledgers_are_kept_apart(server: Server) -> None:
    async with stores(f"{server.url}?db=1") as make_one, stores(f"{server.url}?db=2") as make_two:
        one, two = await make_one(), await make_two()
        await know(one, balance=5)
        assert (await balance(one), await balance(two)) == (5, None)
    mine, other = RedisStore(parse(server.url), space="a"), RedisStore(parse(server.url), space="b")
    await mine.connect()
    await other.connect()
    await mine.begin("mine")
    await mine.reopen("mine")
    assert (await other.standing()).epoch == ""
    await mine.close()
    await other.close()


async def test_over_tls_both_sides_may_have_to_show_a_certificate(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    port = free_port()
    options = (
        *(*KEEPING, "--tls-port", str(port), "--tls-cert-file", str(made / "server.crt")),
        *("--tls-key-file", str(made / "server.key"), "--tls-ca-cert-file", str(made / "ca.crt")),
    )
    shown = f"ssl_ca_certs={made}/ca.crt&ssl_certfile={made}/server.crt&ssl_keyfile={made}/server.key"
    with running(redis_binary(), options):
        async with stores(f"rediss://localhost:{port}?{shown}") as make:
            store = await make()
            await know(store, balance=5)
            assert await balance(store) == 5
        assert "cannot be reached" in str(await refused(f"rediss://localhost:{port}"))


def certificates(folder: Path) -> Path:
    """An authority and a server that it vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    new = "openssl req -newkey rsa:2048 -nodes -days 2 -subj"
    commands = (
        f"{new} /CN=authority -x509 -keyout ca.key -out ca.crt",
        f"{new} /CN=localhost -addext subjectAltName=DNS:localhost -keyout server.key -out request",
        "openssl x509 -req -in request -CA ca.crt -CAkey ca.key -copy_extensions copy -out server.crt",
    )
    for each in commands:
        subprocess.run(each.split(), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("over", ["socket", "tcp"])
def test_it_runs_on_uvloop_as_on_asyncio(server: Server, over: str) -> None:
    async def story() -> object:
        async with stores(server.url if over == "socket" else server.tcp_url) as make:
            store = await make()
            await know(store, balance=5)
            await held(store, await a_hold(store, "a"))
            return await balance(store)

    assert uvloop.run(story()) == 4


def test_a_tag_is_where_the_server_puts_it() -> None:
    with running(valkey_binary(), part_of_a_cluster()) as part:
        for tag in ("{mg::0}", "{mg:0123456789ab:15}", "{eu.1:x:3}"):
            assert command(part, "CLUSTER", "KEYSLOT", f"{tag}b:credits:a") == b":%d\r\n" % slot_of(tag)


async def test_a_slot_that_moves_to_another_master_is_found_there() -> None:
    with cluster(valkey_binary()) as masters:
        async with stores(f"redis+cluster://127.0.0.1:{masters[0].port}?shards=1&timeout=500ms") as make:
            store = await make()
            await know(store, balance=5)
            move_slot(masters, slot_of("{mg::0}"))
            assert await again(lambda: balance(store)) == 5
            assert (await held(store, await a_hold(store, "a")))[0].values == (4,)


async def test_while_a_slot_moves_calls_are_refused_and_nothing_is_mistaken_for_a_loss() -> None:
    """Also when half of its keys are with the other master; afterwards everything is as it was."""
    with cluster(valkey_binary()) as masters:
        async with stores(f"redis+cluster://127.0.0.1:{masters[0].port}?shards=1&timeout=500ms") as make:
            store = await make()
            await know(store, balance=9)
            first, *later = [await a_hold(store, f"op-{n}") for n in range(5)]
            assert (await held(store, first))[0].status == GRANTED
            (seen,) = store.sequence
            for step in moving(masters, slot_of("{mg::0}")):
                step()
                with pytest.raises(StoreUnavailable):
                    await held(store, later[0])
                with pytest.raises(StoreUnavailable):
                    await settled(store, first.op)
            assert await again(lambda: settled(store, first.op)) == [DONE]
            assert store.epoch == "first"
            assert store.sequence == (seen + 1,)
            assert [each.status for each in await held(store, *later)] == [GRANTED] * 4
            assert await balance(store) == 4


def moving(masters: list[Server], slot: int) -> Iterator[Callable[[], object]]:
    """The steps after which neither of two masters has the whole slot."""
    owner = masters[slot * len(masters) // 16384]
    heir = masters[(masters.index(owner) + 1) % len(masters)]
    names = {each.port: command(each, "CLUSTER", "MYID").split(b"\r\n")[1].decode() for each in (owner, heir)}

    def begin() -> None:
        command(heir, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", names[owner.port])
        command(owner, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", names[heir.port])

    def move(count: int) -> None:
        keys = command(owner, "CLUSTER", "GETKEYSINSLOT", str(slot), str(count)).split(b"\r\n")[2::2]
        moved = ("MIGRATE", "127.0.0.1", str(heir.port), "", "0", "5000", "KEYS")
        assert command(owner, *moved, *[key.decode() for key in keys]) == b"+OK\r\n"

    yield begin
    yield lambda: move(3)
    yield lambda: move(1000)
    for each in (heir, owner):
        command(each, "CLUSTER", "SETSLOT", str(slot), "NODE", names[heir.port])


def move_slot(masters: list[Server], slot: int) -> None:
    for step in moving(masters, slot):
        step()
