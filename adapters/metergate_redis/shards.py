"""Which shard is whose. All that a hold draws from is in one shard, so that it is taken in one step."""

from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

from metergate.core.hold import Event
from metergate.wire import decode_outcome
from metergate_redis.shard import Shard


class Shards:
    def __init__(self, shards: Sequence[Shard]) -> None:
        self.all = shards
        for shard in shards:
            shard.siblings = shards
        self.where: dict[str, Shard] = {}
        """Where open calls of this process are, while there is more than one shard."""
        self._first = 0

    def of_account(self, account: str) -> Shard:
        return self.all[crc32(account.encode()) % len(self.all)]

    of_key = of_account
    """A key is found before its account is known, so an index of it has a place of its own."""

    def of_event(self, op: str, event: Event) -> Shard:
        """Where a call is that has ended."""
        return self.where.pop(op, None) or self.of_account(decode_outcome(event[4]).terms.account)

    def grouped(self, places: Iterable[Shard]) -> dict[Shard, list[int]]:
        groups: dict[Shard, list[int]] = {}
        for place, shard in enumerate(places):
            groups.setdefault(shard, []).append(place)
        return groups

    def in_turn(self) -> Iterator[Shard]:
        """All of them, beginning with another one each time."""
        self._first += 1
        for n in range(len(self.all)):
            yield self.all[(self._first + n) % len(self.all)]
