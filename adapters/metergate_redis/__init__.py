"""The counter store on Redis or Valkey, for `store: redis://…`; see `metergate.ports.SharedStore`."""

from metergate.ports import SharedStore
from metergate_redis.address import parse
from metergate_redis.store import RedisStore


def open_store(url: str, *, space: str, backlog: int, strict: bool = False) -> SharedStore:
    """The store at an address, for one ledger; ConfigurationError says what is wrong with the address.

    `strict` refuses a server that may lose what it has acknowledged.
    """
    return RedisStore(parse(url), space=space, backlog=backlog, strict=strict)


__all__ = ["RedisStore", "open_store"]
