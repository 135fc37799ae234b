"""The counter store on Redis or Valkey."""

import asyncio
import contextlib
import re
import secrets
from collections.abc import Awaitable, Iterator, Sequence
from itertools import chain

import msgspec

from metergate.core.idempotency import Twin
from metergate.errors import StoreUnavailable
from metergate.ports import (
    CONFLICT,
    DONE,
    UNKNOWN,
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
from metergate.wire import count_events
from metergate_redis.address import Address
from metergate_redis.connection import Connection
from metergate_redis.facts import Argument, ask_arguments, change_arguments, told
from metergate_redis.link import Link, ask
from metergate_redis.shard import OTHER_EPOCH, Shard, closed, opened
from metergate_redis.template import Templates

REAPER_LEASE_US = 30 * 10**6
LATE_US = 3600 * 10**6
"""A window's counter outlives its window by this much, for calls that settle late."""
ENDED_KEPT_MS = 120_000
CHANGES_AT_ONCE = 1000
LOOK_S = 1.0
_SINGLE = {ord("D"): DONE, ord("U"): UNKNOWN, ord("C"): CONFLICT}


class RedisStore:
    def __init__(self, address: Address, *, space: str = "", backlog: int = 1_000_000) -> None:
        self._address = address
        self._consumer = secrets.token_hex(8)
        """Who this process is among those that drain the outbox."""
        self._space = space
        self._backlog = backlog
        self._link = Link(address, address.hosts[0] if address.hosts else ("", 0), self._greet)
        tags = [f"{{{address.prefix}{space}:{n}}}" for n in range(address.shards)]
        self._shards = [Shard(tag, backlog, Templates(tag), self._link) for tag in tags]
        self._shard = self._shards[0]
        self._drained: dict[str, int] = {}
        """How many events each entry holds that this process has drained."""
        self._run = ""
        self._watch: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._look(), name="metergate-redis-watch")
        await self._link.start()

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._link.close()

    async def _greet(self, connection: Connection) -> None:
        info = await ask(connection, b"INFO", b"server")
        found = re.search(rb"run_id:(\w+)", info) if isinstance(info, bytes) else None
        self._run = found[1].decode() if found else ""
        await self._attach(connection)

    async def _attach(self, connection: Connection) -> list[tuple[str, int]]:
        return [await shard.attach(connection, self._run) for shard in self._shards]

    async def _look(self) -> None:
        """See now and then how the shards stand, also while nothing else asks."""
        while True:
            await asyncio.sleep(LOOK_S)
            connection = self._link.connection
            if connection is not None:
                with contextlib.suppress(StoreUnavailable):
                    await self._attach(connection)
                for shard in self._shards:
                    shard.pay()

    # -- epochs --------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        epochs = {shard.epoch for shard in self._shards}
        return epochs.pop() if len(epochs) == 1 else ""

    @property
    def sequence(self) -> tuple[int, ...]:
        return tuple(shard.sequence for shard in self._shards)

    def enter(self, epoch: str, sequence: Sequence[int] = ()) -> None:
        for shard, seen in zip(self._shards, sequence or [0] * len(self._shards), strict=True):
            shard.enter(epoch, seen)

    async def standing(self) -> Standing:
        connection = self._link.connection
        if connection is None:
            raise self._shard.unusable()
        stand = await self._attach(connection)
        epochs = {epoch for epoch, _ in stand}
        sequence = tuple(sequence for _, sequence in stand)
        if len(epochs) > 1:
            # Some shards are closed or empty; what is there of the others cannot be used either.
            return Standing(max(epoch[1:] for epoch in epochs), open=False, sequence=sequence)
        epoch = epochs.pop()
        return Standing(epoch[1:], open=epoch.startswith("o"), sequence=sequence)

    async def begin(self, epoch: str) -> None:
        for shard in self._shards:
            cursor = b"0"
            while True:
                reply = _sure(await shard.run_in(closed(epoch), "begin", (cursor,)))
                cursor = reply[1:]
                if cursor == b"0":
                    break

    async def left_over(self, epoch: str, limit: int) -> Sequence[Entry]:
        return _entries(await self._shard.run_in(closed(epoch), "oldest", (limit,)))

    async def discard(self, epoch: str, ids: Sequence[str]) -> None:
        await self._acknowledge(closed(epoch), ids)

    async def fill(self, epoch: str, changes: Sequence[Change], now_us: int) -> None:
        for arguments in _portions(changes):
            _sure(await self._shard.run_in(closed(epoch), "sync", (0, now_us, *arguments)))

    async def reopen(self, epoch: str) -> None:
        for shard in self._shards:
            _sure(await shard.run_in(closed(epoch), "swap", (opened(epoch),)))

    # -- calls ---------------------------------------------------------------------------------------------

    def hold(self, batch: Sequence[Hold], now_us: int) -> Awaitable[Sequence[Held]]:
        return self._shard.hold(batch, now_us)

    def dispatch(self, op: str) -> None:
        self._shard.dispatch(op)

    def settle(self, batch: Sequence[Settle], now_us: int) -> Awaitable[Sequence[str]]:
        return self._shard.settle(batch, now_us)

    def release(self, ops: Sequence[str], now_us: int) -> Awaitable[Sequence[str]]:
        return self._shard.release(ops, now_us)

    async def renew(self, ops: Sequence[str], expires_at_us: int) -> Sequence[str]:
        reply = await self._shard.run("renew", (expires_at_us, *ops))
        assert isinstance(reply, bytes)
        return [_SINGLE[each] for each in reply[1:]]

    async def expire(self, now_us: int, limit: int) -> Sequence[Expired]:
        times = (now_us + REAPER_LEASE_US, now_us - LATE_US, ENDED_KEPT_MS)
        reply = await self._shard.run("expire", (now_us, limit, *times))
        assert isinstance(reply, list)
        return [_expired(*each) for each in reply[1]]

    # -- the outbox ----------------------------------------------------------------------------------------

    async def drain(self, limit: int) -> Sequence[Entry]:
        takeover_ms = round(self._address.takeover_s * 1000)
        entries = _entries(await self._shard.run("drain", (self._consumer, limit, takeover_ms)))
        self._drained.update((entry.id, count_events(entry.events)) for entry in entries)
        return entries

    async def unposted(self) -> Entry | None:
        entries = _entries(await self._shard.run("oldest", (1,)))
        return entries[0] if entries else None

    async def acknowledge(self, ids: Sequence[str]) -> Sequence[str]:
        return await self._acknowledge("", ids)

    async def _acknowledge(self, epoch: str, ids: Sequence[str]) -> Sequence[str]:
        if not ids:
            return []
        shard = self._shard
        pairs: list[Argument] = []
        for id in ids:
            pairs += (id, self._drained.get(id, 0))
        if epoch:
            reply = _sure(await shard.run_in(epoch, "acknowledge", tuple(pairs)))
        else:
            reply = _sure(await shard.run("acknowledge", tuple(pairs)))
        waiting, answers = reply[1:].split()
        shard.waiting = int(waiting)
        for id in ids:
            self._drained.pop(id, None)
        return [_SINGLE[each] for each in answers]

    # -- what the ledger's side tells ----------------------------------------------------------------------

    async def sync(self, changes: Sequence[Change], now_us: int) -> Sequence[str]:
        shard, epoch, answers = self._shard, self._shard.epoch, b""
        for arguments in _portions(changes):
            if shard.epoch != epoch:
                raise StoreUnavailable(OTHER_EPOCH)
            reply = await shard.run("sync", (shard.sequence, now_us, *arguments))
            assert isinstance(reply, bytes)
            sequence, _, told = reply[1:].partition(b" ")
            shard.saw(epoch, int(sequence))
            answers += told
        return [_SINGLE[each] for each in answers]

    async def state(self, asks: Sequence[Ask]) -> Sequence[Told]:
        reply = await self._shard.run("state", tuple(chain.from_iterable(map(ask_arguments, asks))))
        assert isinstance(reply, list)
        return [told(each) for each in reply[1]]

    def health(self) -> StoreHealth:
        why = next((shard.why for shard in self._shards if shard.why), "")
        backlog = sum(shard.waiting for shard in self._shards)
        held = sum(shard.open for shard in self._shards)
        return StoreHealth("redis", not why, backlog, held, why, shared=True)


def _sure(reply: object) -> bytes:
    """The reply of a script that had to be run in this very epoch."""
    assert isinstance(reply, bytes)
    if not reply.startswith(b"K"):
        raise StoreUnavailable(OTHER_EPOCH)
    return reply


def _portions(changes: Sequence[Change]) -> Iterator[list[Argument]]:
    for start in range(0, len(changes), CHANGES_AT_ONCE):
        portion = changes[start : start + CHANGES_AT_ONCE]
        yield list(chain.from_iterable(map(change_arguments, portion)))


def _entries(reply: object) -> list[Entry]:
    if isinstance(reply, bytes):
        raise StoreUnavailable(OTHER_EPOCH)
    assert isinstance(reply, list)
    return sorted([Entry(id.decode(), events) for id, events in reply[1]], key=_age)


def _age(entry: Entry) -> tuple[int, int]:
    milliseconds, _, number = entry.id.partition("-")
    return int(milliseconds), int(number)


def _expired(op: bytes, request: bytes, dispatched: bytes, terms: bytes, twin: bytes) -> Expired:
    return Expired(op.decode(), (request or op).decode(), dispatched == b"1", terms, _twin(twin))


def _twin(text: bytes) -> Twin | None:
    return Twin(*msgspec.json.decode(text)) if text else None


def _fits(store: RedisStore) -> SharedStore:
    return store
