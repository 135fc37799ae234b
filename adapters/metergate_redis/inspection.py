"""What a server says of itself: whether money is safe with it, and whether it is still the one it was.

Some settings are refused always, because credits would be lost or given away; others in the profile `strict`
only, and are told elsewhere. A managed server may not say how it is set: that is told too, and never refused.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import hiredis

from metergate.errors import ConfigurationError, StoreUnavailable
from metergate_redis.address import CLUSTER, Address
from metergate_redis.connection import Connection
from metergate_redis.link import ask

OLDEST = (7, 0)
ASKED = ("appendfsync", "min-replicas-to-write")
SAMPLE = 200
"""How many keys are looked at to see whether somebody else's are among them."""
VOLATILE = (
    "the server of the counters writes no append-only file: when it stops, usage that is not in the ledger "
    "yet is lost; set appendonly yes"
)
SYNCED_LATE = (
    "the server of the counters brings what it writes to the disk later: a power failure may cost the "
    "last moments; set appendfsync always"
)
SYNCED_NEVER = (
    "the server of the counters leaves it to the system when what it writes is on the disk; set appendfsync "
    "everysec, or always"
)
UNCONFIRMED = (
    "the server of the counters has replicas and does not wait for any: a fail-over may lose the last "
    "moments; set min-replicas-to-write 1"
)
SILENT = (
    "the server of the counters does not say how often it syncs to the disk (CONFIG is not allowed): make "
    "sure yourself that it keeps what it is told"
)
UNBOUNDED = (
    "the server of the counters has no maxmemory: when the machine runs out of memory, the system ends it; "
    "set maxmemory below what the machine has"
)
OTHERS = (
    "the server of the counters holds keys of others: whoever flushes or fills it does so to the counters "
    "too; give them a server, or at least a database, of their own"
)


class Server(NamedTuple):
    run: str = ""
    """Another one after every start; empty where the server does not say."""
    warnings: tuple[str, ...] = ()


async def inspect(connection: Connection, address: Address, *, strict: bool = False) -> Server:
    """Look at a server before it is used."""
    reply = await ask(connection, "INFO")
    if not isinstance(reply, bytes):
        return Server("", (SILENT,))
    info = dict(re.findall(r"(\w+):([^\r\n]*)", reply.decode("utf-8", "replace")))
    if info.get("role", "master") != "master":
        raise StoreUnavailable("The server of the counters is a replica; wait until it is the master.")
    _check(info, address)
    settings = await _settings(connection)
    grave = [*_losing(info, settings)]
    if strict and grave:
        raise ConfigurationError(f"With profile: strict {grave[0]}.")
    others = [OTHERS] if await _has_others(connection, address) else []
    light = [*_minding(info, settings), *others]
    return Server(info.get("run_id", ""), tuple([each for each in (*grave, *light) if each != SYNCED_LATE]))


def _check(info: Mapping[str, str], address: Address) -> None:
    version = re.match(r"(\d+)\.(\d+)", info.get("redis_version", ""))
    if version is not None and (int(version[1]), int(version[2])) < OLDEST:
        raise ConfigurationError(f"Use Valkey, or Redis 7.0 or later; this server is Redis {version[0]}.")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise ConfigurationError(
            f"Set maxmemory-policy noeviction on the server of the counters; with {policy} it throws "
            "balances away when its memory is full."
        )
    if info.get("cluster_enabled", "0") == "1" and address.kind != CLUSTER:
        raise ConfigurationError("The server of the counters is part of a cluster; use redis+cluster://.")


def _losing(info: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[str]:
    """What may lose what was acknowledged."""
    if info.get("aof_enabled", "1") != "1":
        yield VOLATILE
    elif settings.get("appendfsync") == "no":
        yield SYNCED_NEVER
    elif settings.get("appendfsync", "always") != "always":
        yield SYNCED_LATE
    if info.get("connected_slaves", "0") != "0" and settings.get("min-replicas-to-write", "1") == "0":
        yield UNCONFIRMED


def _minding(info: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[str]:
    if "appendfsync" not in settings:
        yield SILENT
    if info.get("maxmemory") == "0":
        yield UNBOUNDED


async def _settings(connection: Connection) -> Mapping[str, str]:
    """How it is set; nothing where it may not be asked."""
    reply = await ask(connection, "CONFIG", "GET", *ASKED)
    if isinstance(reply, dict):  # RESP3
        reply = [each for pair in reply.items() for each in pair]
    if not isinstance(reply, list) or not all(isinstance(each, bytes) for each in reply):
        return {}
    texts = [each.decode("utf-8", "replace") for each in reply]
    return dict(zip(texts[::2], texts[1::2], strict=False))


async def _has_others(connection: Connection, address: Address) -> bool:
    """Whether keys are there that are not ours, as far as a sample shows."""
    reply = await ask(connection, "SCAN", "0", "COUNT", SAMPLE)
    if isinstance(reply, hiredis.ReplyError) or not isinstance(reply, list) or len(reply) != 2:
        return False
    ours = f"{{{address.prefix}:".encode()
    return any(isinstance(key, bytes) and not key.startswith(ours) for key in reply[1])


async def clock_us(connection: Connection) -> int:
    """What time it is at the server, half of the way there and back taken off."""
    loop = asyncio.get_running_loop()
    asked = loop.time()
    reply = await ask(connection, "TIME")
    if not isinstance(reply, list):
        raise StoreUnavailable("The server of the counters does not say what time it is.")
    half_us = int((loop.time() - asked) * 10**6) // 2
    return int(reply[0]) * 10**6 + int(reply[1]) + half_us
