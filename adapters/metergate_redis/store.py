"""The counter store on Redis or Valkey."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Sequence

from metergate.errors import StoreUnavailable
from metergate.ports import (
    Ask,
    Change,
    Entry,
    Expired,
    Held,
    Hold,
    Settle,
    SharedStore,
    Standing,
    StoreHealth,
    Told,
)
from metergate_redis.address import CLUSTER, Address
from metergate_redis.calls import Calls, expire, renew
from metergate_redis.connection import Connection
from metergate_redis.inspection import clock_us, inspect
from metergate_redis.knowledge import Knowledge
from metergate_redis.link import Link
from metergate_redis.outbox import Outbox
from metergate_redis.servers import finder
from metergate_redis.shard import OTHER_EPOCH, Shard, closed, opened
from metergate_redis.shards import Shards
from metergate_redis.template import Templates

LOOK_S = 1.0


class RedisStore:
    def __init__(
        self, address: Address, *, space: str = "", backlog: int = 1_000_000, strict: bool = False
    ) -> None:
        self._address = address
        self._strict = strict
        tags = [f"{{{address.prefix}:{space}:{n}}}" for n in range(address.shards)]
        if address.kind == CLUSTER:
            self._links = [Link(address, finder(address, tag), self._welcome) for tag in tags]
        else:
            self._links = [Link(address, finder(address, ""), self._welcome)]
        self._shards = Shards(
            [
                Shard(tag, backlog, Templates(tag), self._links[n % len(self._links)])
                for n, tag in enumerate(tags)
            ]
        )
        self._only = self._shards.all[0] if len(tags) == 1 else None
        """Most have one shard, and the shortest way to it."""
        self._calls = Calls(self._shards)
        self._outbox = Outbox(self._shards, secrets.token_hex(8), address.takeover_s)
        self._knowledge = Knowledge(self._shards)
        self._watch: asyncio.Task[None] | None = None

    # -- in touch ------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._look(), name="metergate-redis-watch")
        started = await asyncio.gather(*[link.start() for link in self._links], return_exceptions=True)
        for each in started:
            if each is not None:
                raise each

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await asyncio.gather(*[link.close() for link in self._links])

    async def _welcome(self, link: Link, connection: Connection) -> None:
        """Look at the server, and at the shards that it has, before anything else is asked of it."""
        server = await inspect(connection, self._address, strict=self._strict)
        link.run, link.warnings = server.run, server.warnings
        for shard in self._shards.all:
            if shard.link is link:
                await shard.attach(connection)

    async def _look(self) -> None:
        """See now and then how the shards stand, also while nothing else asks."""
        while True:
            await asyncio.sleep(LOOK_S)
            for shard in self._shards.all:
                with contextlib.suppress(StoreUnavailable):
                    await shard.stand()

    def health(self) -> StoreHealth:
        shards = self._shards.all
        why = next((shard.why for shard in shards if shard.why), "")
        backlog, held = sum(shard.waiting for shard in shards), sum(shard.open for shard in shards)
        warnings = tuple(dict.fromkeys(each for link in self._links for each in link.warnings))
        detail = why or next(iter(warnings), "")
        return StoreHealth("redis", not why, backlog, held, detail, shared=True, warnings=warnings)

    async def time_us(self) -> int:
        """What time it is at the server."""
        connection = self._links[0].connection
        if connection is None:
            raise StoreUnavailable(self._links[0].why)
        return await clock_us(connection)

    # -- epochs --------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        epochs = {shard.epoch for shard in self._shards.all}
        return epochs.pop() if len(epochs) == 1 else ""

    @property
    def sequence(self) -> tuple[int, ...]:
        return tuple(shard.sequence for shard in self._shards.all)

    def enter(self, epoch: str, sequence: Sequence[int] = ()) -> None:
        shards = self._shards.all
        if sequence and len(sequence) != len(shards):
            sequence = ()  # there were more shards, or fewer, and everything is filled anew
        for shard, seen in zip(shards, sequence or [0] * len(shards), strict=True):
            shard.enter(epoch, seen)

    async def standing(self) -> Standing:
        stand = [await shard.stand() for shard in self._shards.all]
        epochs = {epoch for epoch, _ in stand}
        sequence = tuple(sequence for _, sequence in stand)
        if len(epochs) > 1:
            # Some shards are closed or empty, and the others are of no use without them.
            return Standing(max(epoch[1:] for epoch in epochs), open=False, sequence=sequence)
        epoch = epochs.pop()
        return Standing(epoch[1:], open=epoch.startswith("o"), sequence=sequence)

    async def begin(self, epoch: str) -> None:
        for shard in self._shards.all:
            cursor = b"0"
            while (reply := await shard.run_in(closed(epoch), "begin", (cursor,))) != b"K0":
                cursor = _taken(reply)[1:]

    async def fill(self, epoch: str, changes: Sequence[Change], now_us: int) -> None:
        await self._knowledge.fill(epoch, changes, now_us)

    async def reopen(self, epoch: str) -> None:
        for shard in self._shards.all:
            _taken(await shard.run_in(closed(epoch), "swap", (opened(epoch),)))

    async def left_over(self, epoch: str, limit: int) -> Sequence[Entry]:
        return await self._outbox.left_over(epoch, limit)

    async def discard(self, epoch: str, ids: Sequence[str]) -> None:
        await self._outbox.acknowledge(ids, epoch)

    # -- calls ---------------------------------------------------------------------------------------------

    def hold(self, batch: Sequence[Hold], now_us: int) -> Awaitable[Sequence[Held]]:
        return (self._only or self._calls).hold(batch, now_us)

    def dispatch(self, op: str) -> None:
        (self._only or self._calls).dispatch(op)

    def settle(self, batch: Sequence[Settle], now_us: int) -> Awaitable[Sequence[str]]:
        return (self._only or self._calls).settle(batch, now_us)

    async def release(self, ops: Sequence[str], now_us: int) -> Sequence[str]:
        return await (self._only or self._calls).release(ops, now_us)

    async def lapse(self, ops: Sequence[str], now_us: int) -> Sequence[str]:
        return await self._calls.lapse(ops)

    async def renew(self, ops: Sequence[str], expires_at_us: int) -> Sequence[str]:
        if self._only is not None:
            return await renew(self._only, ops, expires_at_us)
        return await self._calls.renew(ops, expires_at_us)

    async def expire(self, now_us: int, limit: int) -> Sequence[Expired]:
        if self._only is not None:
            return await expire(self._only, now_us, limit)
        return await self._calls.expire(now_us, limit)

    # -- the outbox ----------------------------------------------------------------------------------------

    async def drain(self, limit: int) -> Sequence[Entry]:
        return await self._outbox.drain(limit)

    async def unposted(self) -> Entry | None:
        return await self._outbox.oldest()

    async def mark(self) -> str:
        return await self._outbox.mark()

    async def posted(self, mark: str) -> bool:
        return await self._outbox.posted(mark)

    async def acknowledge(self, ids: Sequence[str]) -> Sequence[str]:
        return await self._outbox.acknowledge(ids)

    # -- what the ledger's side tells ----------------------------------------------------------------------

    async def sync(self, changes: Sequence[Change], now_us: int) -> Sequence[str]:
        return await self._knowledge.sync(changes, now_us)

    async def state(self, asks: Sequence[Ask]) -> Sequence[Told]:
        return await self._knowledge.state(asks)


def _taken(reply: object) -> bytes:
    """The reply of a script that was meant for this very epoch."""
    if not isinstance(reply, bytes) or not reply.startswith(b"K"):
        raise StoreUnavailable(OTHER_EPOCH)
    return reply


def _fits(store: RedisStore) -> SharedStore:
    return store
