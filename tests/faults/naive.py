"""What metergate does not do: variants of it that forget one rule each, for the tests to catch."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence

from metergate.core.hold import UsageEvent
from metergate.errors import StoreUnavailable
from metergate.ledger import posting
from metergate.ledger.database import Tx
from metergate.ledger.posting import Posted
from metergate.ports import Entry, Held, Hold, answered
from metergate.store.embedded import EmbeddedStore
from metergate.worker.flusher import Flusher
from metergate_redis import RedisStore

Ask = Callable[[RedisStore, Sequence[Hold], int], Awaitable[Sequence[Held]]]
TRIES, PAUSE_S = 20, 0.05


def acknowledge_first() -> None:
    """The outbox forgets what is not in the ledger yet."""
    post = Flusher._post

    async def hasty(self: Flusher, entries: Sequence[Entry], epoch: str | None) -> None:
        await answered(self._store.acknowledge([entry.id for entry in entries]))
        await post(self, entries, epoch)

    Flusher._post = hasty  # type: ignore[method-assign]


def tell_nobody_of_a_dispatch() -> None:
    """The journal hears of a call only when it has ended."""

    def silent(self: EmbeddedStore, holds: Sequence[Hold]) -> int:
        return 0

    EmbeddedStore._write_dispatched = silent  # type: ignore[method-assign]


def post_under_new_ids() -> None:
    """What is found in the journal is new to the ledger, whatever it has already."""
    post = posting.post

    def forgetful(tx: Tx, events: Sequence[UsageEvent]) -> Posted:
        return post(tx, [event._replace(op=secrets.token_hex(10)) for event in events])

    posting.post = forgetful


def asked_again_under_no_id(hold: Ask) -> Ask:
    """The store is asked again by itself, as redis-py does, and cannot know that it is the same hold."""

    async def insisting(self: RedisStore, batch: Sequence[Hold], now_us: int) -> Sequence[Held]:
        for _ in range(TRIES):
            try:
                return await hold(self, batch, now_us)
            except StoreUnavailable:
                await asyncio.sleep(PAUSE_S)
                batch = [each._replace(op=f"{each.op}.{secrets.token_hex(4)}") for each in batch]
        return await hold(self, batch, now_us)

    return insisting


VARIANTS: Mapping[str, Callable[[], None]] = {
    "acknowledge-first": acknowledge_first,
    "no-dispatch-record": tell_nobody_of_a_dispatch,
    "new-ids": post_under_new_ids,
}
