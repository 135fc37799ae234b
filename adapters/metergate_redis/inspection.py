"""What a server says of itself: whether money is safe with it, and whether it is still the one it was."""

import re
from typing import NamedTuple

from metergate.errors import ConfigurationError, StoreUnavailable
from metergate_redis.address import CLUSTER, Address
from metergate_redis.connection import Connection
from metergate_redis.link import ask

OLDEST = (7, 0)
VOLATILE = (
    "the server of the counters writes no append-only file: when it stops, usage that is not in the ledger "
    "yet is lost; set appendonly yes"
)


class Server(NamedTuple):
    run: str = ""
    """Another one after every start; empty where the server does not say."""
    warning: str = ""


async def inspect(connection: Connection, address: Address) -> Server:
    """Look at a server before it is used."""
    reply = await ask(connection, "INFO")
    if not isinstance(reply, bytes):
        return Server()
    info = dict(re.findall(r"(\w+):([^\r\n]*)", reply.decode("utf-8", "replace")))
    if info.get("role", "master") != "master":
        raise StoreUnavailable("The server of the counters is a replica; wait until it is the master.")
    _check(info, address)
    warning = "" if info.get("aof_enabled", "1") == "1" else VOLATILE
    return Server(info.get("run_id", ""), warning)


def _check(info: dict[str, str], address: Address) -> None:
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
