"""What the ledger's side tells of accounts, keys and budgets, and what is told of them, over all shards."""

from collections.abc import Iterable, Sequence
from itertools import chain

from metergate.errors import StoreUnavailable
from metergate.ports import (
    DONE,
    Adjust,
    Ask,
    AskAccount,
    AskKey,
    Change,
    PutAccount,
    PutBudget,
    PutKey,
    Told,
)
from metergate_redis.calls import ANSWERS
from metergate_redis.facts import Argument, ask_arguments, change_arguments, told
from metergate_redis.shard import OTHER_EPOCH, Shard, closed
from metergate_redis.shards import Shards

CHANGES_AT_ONCE = 1000
Placed = tuple[int, tuple[Argument, ...]]
"""Where an answer belongs in the batch, and what the script is told."""


class Knowledge:
    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    # -- telling -------------------------------------------------------------------------------------------

    async def sync(self, changes: Sequence[Change], now_us: int) -> Sequence[str]:
        epochs = {shard: shard.epoch for shard in self._shards.all}
        answers = [DONE] * len(changes)
        for shard, portion in await self._portions(changes, None):
            if shard.epoch != epochs[shard]:
                raise StoreUnavailable(OTHER_EPOCH)
            reply = await shard.run("sync", (shard.sequence, now_us, *_arguments(portion)))
            assert isinstance(reply, bytes)
            sequence, _, letters = reply[1:].partition(b" ")
            shard.saw(epochs[shard], int(sequence))
            for (place, _), letter in zip(portion, letters, strict=True):
                answers[place] = ANSWERS[letter]
        return answers

    async def fill(self, epoch: str, changes: Sequence[Change], now_us: int) -> None:
        """The same in a closed store."""
        for shard, portion in await self._portions(changes, epoch):
            reply = await shard.run_in(closed(epoch), "sync", (0, now_us, *_arguments(portion)))
            if not isinstance(reply, bytes) or not reply.startswith(b"K"):
                raise StoreUnavailable(OTHER_EPOCH)

    async def _portions(
        self, changes: Sequence[Change], epoch: str | None
    ) -> list[tuple[Shard, list[Placed]]]:
        """Changes by shard, each time so many as one script call should carry."""
        by_shard: dict[Shard, list[Placed]] = {}
        for place, change in enumerate(changes):
            for shard, arguments in await self._placed(change, epoch):
                by_shard.setdefault(shard, []).append((place, arguments))
        return [
            (shard, placed[start : start + CHANGES_AT_ONCE])
            for shard, placed in by_shard.items()
            for start in range(0, len(placed), CHANGES_AT_ONCE)
        ]

    async def _placed(
        self, change: Change, epoch: str | None
    ) -> Iterable[tuple[Shard, tuple[Argument, ...]]]:
        shards, arguments = self._shards, change_arguments(change)
        if len(shards.all) == 1:
            return ((shards.all[0], arguments),)
        if isinstance(change, PutAccount):
            return ((shards.of_account(change.account.id), arguments),)
        if isinstance(change, Adjust):
            return ((shards.of_account(change.account), arguments),)
        if isinstance(change, PutKey):
            return self._placed_key(change, arguments)
        if isinstance(change, PutBudget):
            places = await self._of_budget(change.name, epoch)
            return [(shard, arguments) for shard in places]
        return [(shard, arguments) for shard in shards.all]  # whose a twin is, its id does not say

    def _placed_key(
        self, change: PutKey, arguments: tuple[Argument, ...]
    ) -> Iterable[tuple[Shard, tuple[Argument, ...]]]:
        kid, account = change.key.kid, change.key.account
        index = (self._shards.of_key(kid), ("I", kid, account))
        return (self._shards.of_account(account), arguments), index

    # -- asking --------------------------------------------------------------------------------------------

    async def state(self, asks: Sequence[Ask]) -> Sequence[Told]:
        if len(self._shards.all) == 1:
            return await self._state(self._shards.all[0], asks)
        return [await self._state_of(ask) for ask in asks]

    async def _state(self, shard: Shard, asks: Sequence[Ask]) -> Sequence[Told]:
        reply = await shard.run("state", tuple(chain.from_iterable(map(ask_arguments, asks))))
        assert isinstance(reply, list)
        return [told(each) for each in reply[1]]

    async def _state_of(self, ask: Ask) -> Told:
        for shard in await self._of(ask):
            (answer,) = await self._state(shard, (ask,))
            if answer is not None:
                return answer
        return None

    async def _of(self, ask: Ask) -> Sequence[Shard]:
        if isinstance(ask, AskAccount):
            return (self._shards.of_account(ask.id),)
        if isinstance(ask, AskKey):
            account = await self._account_of(ask.kid, None)
            return (self._shards.of_account(account),) if account else ()
        return await self._of_budget(ask.name, None)

    # -- where ---------------------------------------------------------------------------------------------

    async def _of_budget(self, name: str, epoch: str | None) -> Sequence[Shard]:
        """Where a budget is; its name says whose it is."""
        kind, _, rest = name.partition(":")
        scope, _, more = rest.partition(":")
        account, subject = scope, more.partition(":")[0]
        if kind in ("open", "held", "rate", "cap"):
            account = await self._account_of(subject, epoch) if scope == "key" else subject
        return (self._shards.of_account(account),)

    async def _account_of(self, kid: str, epoch: str | None) -> str:
        shard = self._shards.of_key(kid)
        if epoch is None:
            reply = await shard.run("state", ("I", kid))
        else:
            reply = await shard.run_in(closed(epoch), "state", ("I", kid))
        assert isinstance(reply, list)
        account: bytes = reply[1][0]
        return account.decode()


def _arguments(portion: Sequence[Placed]) -> Iterable[Argument]:
    return chain.from_iterable(arguments for _, arguments in portion)
