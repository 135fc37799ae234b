"""Calls over several shards: a batch is split by account, and its answers are put together again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from metergate.core.hold import LATE_US
from metergate.errors import StoreUnavailable
from metergate.ports import CONFLICT, DONE, GRANTED, UNKNOWN, Expired, Held, Hold, Settle
from metergate_redis.facts import expired
from metergate_redis.shard import Shard
from metergate_redis.shards import Shards

T = TypeVar("T")

SHARED_BY_ACCOUNTS = ("open:plan:", "held:plan:", "rate:plan:", "cap:plan:")
OUT_OF_REACH = Held("unavailable")
REAPER_LEASE_US = 30 * 10**6
ENDED_KEPT_MS = 120_000
ANSWERS = {ord("D"): DONE, ord("U"): UNKNOWN, ord("C"): CONFLICT}


async def renew(shard: Shard, ops: Sequence[str], expires_at_us: int) -> Sequence[str]:
    reply = await shard.run("renew", (expires_at_us, *ops))
    assert isinstance(reply, bytes)
    return [ANSWERS[each] for each in reply[1:]]


async def lapse(shard: Shard, ops: Sequence[str]) -> Sequence[str]:
    reply = await shard.run("lapse", tuple(ops))
    assert isinstance(reply, bytes)
    told = [ANSWERS[each] for each in reply[1:]]
    shard.open -= told.count(DONE)
    return told


async def expire(shard: Shard, now_us: int, limit: int) -> Sequence[Expired]:
    times = (now_us + REAPER_LEASE_US, now_us - LATE_US, ENDED_KEPT_MS)
    reply = await shard.run("expire", (now_us, limit, *times))
    assert isinstance(reply, list)
    return [expired(*each) for each in reply[1]]


class Calls:
    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def hold(self, batch: Sequence[Hold], now_us: int) -> Sequence[Held]:
        """A shard that is out of reach refuses its own calls only."""
        groups = self._shards.grouped([self._place(hold) for hold in batch])
        parts = [self._hold(shard, [batch[n] for n in places], now_us) for shard, places in groups.items()]
        told = _together(groups.values(), await asyncio.gather(*parts), len(batch))
        if told and all(held is OUT_OF_REACH for held in told):
            raise next(iter(groups)).unusable()
        return told

    def _place(self, hold: Hold) -> Shard:
        if any(draw.name.startswith(SHARED_BY_ACCOUNTS) for draw in hold.draws):
            raise StoreUnavailable(
                "A limit of a plan counts all its accounts together, which several shards cannot; "
                "use shards=1 in the store's address, or limit accounts."
            )
        return self._shards.where.get(hold.op) or self._shards.of_account(hold.account)

    async def _hold(self, shard: Shard, batch: Sequence[Hold], now_us: int) -> Sequence[Held]:
        try:
            told = await shard.hold(batch, now_us)
        except StoreUnavailable:
            return [OUT_OF_REACH] * len(batch)
        for hold, held in zip(batch, told, strict=True):
            if held.status == GRANTED:
                self._shards.where[hold.op] = shard
        return told

    def dispatch(self, op: str) -> None:
        shard = self._shards.where.get(op)
        if shard is not None:
            shard.dispatch(op)

    async def settle(self, batch: Sequence[Settle], now_us: int) -> Sequence[str]:
        groups = self._shards.grouped([self._shards.of_event(each.op, each.event) for each in batch])
        parts = [shard.settle([batch[n] for n in places], now_us) for shard, places in groups.items()]
        told = _together(groups.values(), await asyncio.gather(*parts), len(batch))
        for place, answer in enumerate(told):
            if answer == UNKNOWN:
                told[place] = await self._settle_anywhere(batch[place], now_us)
        return told

    async def _settle_anywhere(self, settle: Settle, now_us: int) -> str:
        for shard in self._shards.all:
            (answer,) = await shard.settle((settle,), now_us)
            if answer != UNKNOWN:
                return answer
        return UNKNOWN

    async def release(self, ops: Sequence[str], now_us: int) -> Sequence[str]:
        told = dict.fromkeys(ops, UNKNOWN)
        where = {op: self._shards.where.pop(op, None) for op in told}
        for shard in self._shards.all:
            here = [op for op in told if told[op] == UNKNOWN and where[op] in (shard, None)]
            if here:
                told.update(zip(here, await shard.release(here, now_us), strict=True))
        return [told[op] for op in ops]

    async def lapse(self, ops: Sequence[str]) -> Sequence[str]:
        return await self._wherever(ops, lapse)

    async def renew(self, ops: Sequence[str], expires_at_us: int) -> Sequence[str]:
        return await self._wherever(ops, lambda shard, here: renew(shard, here, expires_at_us))

    async def _wherever(
        self, ops: Sequence[str], ask: Callable[[Shard, Sequence[str]], Awaitable[Sequence[str]]]
    ) -> Sequence[str]:
        """Ask the shard of each op, or all of them where it is not known."""
        told = dict.fromkeys(ops, UNKNOWN)
        for shard in self._shards.all:
            here = [op for op in told if self._shards.where.get(op, shard) is shard]
            if here:
                answers = await ask(shard, here)
                told.update((op, DONE) for op, answer in zip(here, answers, strict=True) if answer == DONE)
        return [told[op] for op in ops]

    async def expire(self, now_us: int, limit: int) -> Sequence[Expired]:
        found: list[Expired] = []
        for shard in self._shards.in_turn():
            here = await expire(shard, now_us, limit - len(found))
            self._shards.where.update((each.op, shard) for each in here)
            found += here
        return found


def _together(groups: Iterable[Sequence[int]], answers: Iterable[Sequence[T]], count: int) -> list[T]:
    """The answers of the groups, in the order of the batch."""
    by_place = {
        n: each
        for places, part in zip(groups, answers, strict=True)
        for n, each in zip(places, part, strict=True)
    }
    return [by_place[place] for place in range(count)]
