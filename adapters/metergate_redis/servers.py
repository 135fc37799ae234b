"""Which server to connect to: the one that is named, the one that sentinels name, or the owner of a slot."""

import binascii
from collections.abc import Awaitable, Callable

import hiredis

from metergate.errors import StoreUnavailable
from metergate_redis.address import CLUSTER, SENTINEL, UNIX, Address, Host
from metergate_redis.link import ask, dial, greet

Find = Callable[[], Awaitable[Host]]
SLOTS = 16384


def finder(address: Address, tag: str) -> Find:
    """Says where the keys of a tag are, as often as somebody has to connect."""
    if address.kind == SENTINEL:
        return lambda: _by_sentinels(address)
    if address.kind == CLUSTER:
        return lambda: _by_slot(address, slot_of(tag))
    return lambda: _named(address)


async def _named(address: Address) -> Host:
    return ("", 0) if address.kind == UNIX else address.hosts[0]


def slot_of(tag: str) -> int:
    """The slot of a key: that of what stands between its braces."""
    return binascii.crc_hqx(tag.partition("{")[2].partition("}")[0].encode(), 0) % SLOTS


async def _by_sentinels(address: Address) -> Host:
    """The first sentinel that knows a server of the name says which it is."""
    sentinel = address._replace(
        username=address.sentinel_username, password=address.sentinel_password, database=0
    )
    for host in address.hosts:
        reply = await _asked(sentinel, host, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
        if isinstance(reply, list) and len(reply) == 2:
            return reply[0].decode(), int(reply[1])
    raise StoreUnavailable(
        f"No sentinel at {address.shown} answers with a server for {address.service}; start them, or correct "
        "the store's address."
    )


async def _by_slot(address: Address, slot: int) -> Host:
    for host in address.hosts:
        reply = await _asked(address, host, "CLUSTER", "SLOTS")
        for first, last, owner, *_ in reply if isinstance(reply, list) else ():
            if first <= slot <= last:
                return (owner[0] or b"").decode() or host[0], owner[1]
    raise StoreUnavailable(
        f"No server at {address.shown} knows who has slot {slot}; start the cluster, or correct the store's "
        "address."
    )


async def _asked(address: Address, host: Host, *request: str) -> object:
    """What a server answers, over a connection of its own; nothing where it is out of reach."""
    try:
        connection = await dial(address, host, lambda _, __: None)
        try:
            await greet(connection, address)
            reply = await ask(connection, *request)
        finally:
            connection.close("it has served its purpose")
    except StoreUnavailable:
        return None
    return None if isinstance(reply, hiredis.ReplyError) else reply
