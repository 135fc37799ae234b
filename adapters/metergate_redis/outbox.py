"""Usage events on their way to the ledger, over one shard or several."""

from collections.abc import Sequence

from metergate.errors import StoreUnavailable
from metergate.ports import UNKNOWN, Entry
from metergate.wire import count_events
from metergate_redis.calls import ANSWERS
from metergate_redis.facts import Argument
from metergate_redis.shard import OTHER_EPOCH, Shard, closed
from metergate_redis.shards import Shards

NOTHING = "0-0"
"""Before the first entry."""


class Outbox:
    def __init__(self, shards: Shards, consumer: str, takeover_s: float) -> None:
        self._shards = shards
        self._consumer = consumer
        """Who this process is among those that drain the outbox."""
        self._takeover_ms = round(takeover_s * 1000)
        self._events: dict[str, int] = {}
        """How many events an entry holds that this process has drained."""

    async def drain(self, limit: int) -> Sequence[Entry]:
        found: list[Entry] = []
        for shard in self._shards.in_turn():
            rest = (self._consumer, limit - len(found), self._takeover_ms)
            found += self._entries(shard, await shard.run("drain", rest))
        self._events.update((entry.id, count_events(entry.events)) for entry in found)
        return found

    async def oldest(self) -> Entry | None:
        found = [
            entry
            for shard in self._shards.all
            for entry in self._entries(shard, await shard.run("oldest", (1,)))
        ]
        return min(found, key=_age, default=None)

    async def mark(self) -> str:
        """The newest entry of every shard."""
        newest = [await shard.run("newest", ()) for shard in self._shards.all]
        if not all(isinstance(each, bytes) for each in newest):
            raise StoreUnavailable(OTHER_EPOCH)
        told = [each[1:].decode() for each in newest if isinstance(each, bytes)]
        return " ".join(each or NOTHING for each in told) if any(told) else ""

    async def posted(self, mark: str) -> bool:
        for shard, newest in zip(self._shards.all, mark.split(), strict=False):
            oldest = self._entries(shard, await shard.run("oldest", (1,)))
            if oldest and _age(oldest[0]) <= _parsed(newest):
                return False
        return True

    async def left_over(self, epoch: str, limit: int) -> Sequence[Entry]:
        found: list[Entry] = []
        for shard in self._shards.all:
            if len(found) < limit:
                reply = await shard.run_in(closed(epoch), "oldest", (limit - len(found),))
                found += self._entries(shard, reply)
        return found

    async def acknowledge(self, ids: Sequence[str], epoch: str | None = None) -> Sequence[str]:
        """The entries go; with an epoch, of a store that is closed under it."""
        told: dict[str, str] = {}
        for shard in self._shards.all:
            here = [id for id in ids if self._shard_of(id) is shard]
            if here:
                told |= await self._acknowledge(shard, here, epoch)
        for id in ids:
            self._events.pop(id, None)
        return [told.get(id, UNKNOWN) for id in ids]

    async def _acknowledge(self, shard: Shard, ids: Sequence[str], epoch: str | None) -> dict[str, str]:
        pairs: list[Argument] = []
        for id in ids:
            pairs += (id.partition("/")[0], self._events.get(id, 0))
        if epoch is None:
            reply = await shard.run("acknowledge", tuple(pairs))
        else:
            reply = await shard.run_in(closed(epoch), "acknowledge", tuple(pairs))
        assert isinstance(reply, bytes)
        if not reply.startswith(b"K"):
            raise StoreUnavailable(OTHER_EPOCH)
        waiting, answers = reply[1:].split()
        shard.waiting = int(waiting)
        return {id: ANSWERS[answer] for id, answer in zip(ids, answers, strict=True)}

    def _entries(self, shard: Shard, reply: object) -> list[Entry]:
        if isinstance(reply, bytes):
            raise StoreUnavailable(OTHER_EPOCH)
        assert isinstance(reply, list)
        place = self._shards.all.index(shard)
        found = [Entry(f"{id.decode()}/{place}" if place else id.decode(), events) for id, events in reply[1]]
        return sorted(found, key=_age)

    def _shard_of(self, id: str) -> Shard | None:
        place = int(id.partition("/")[2] or 0)
        return self._shards.all[place] if place < len(self._shards.all) else None


def _age(entry: Entry) -> tuple[int, ...]:
    return _parsed(entry.id.partition("/")[0])


def _parsed(id: str) -> tuple[int, ...]:
    return tuple(map(int, id.split("-")))
