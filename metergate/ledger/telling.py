"""The one rule of changes: the ledger first, then the counter store.

A shared store outlives whoever changes the ledger and is killed before the store has heard. So what it has to
be told is written down in the same transaction, and a worker tells what nobody has: see `untold`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, NamedTuple, TypeVar

from metergate.errors import StoreUnavailable
from metergate.ledger import epochs, untold
from metergate.ledger.database import Tx
from metergate.ledger.errors import LedgerUnavailable
from metergate.ledger.thread import LedgerThread
from metergate.ports import DONE, Change, Clock, CounterStore, SharedStore

T = TypeVar("T")
Work = Callable[[Tx], tuple[T, Sequence[Change]]]
"""Changes the ledger; answers a result, and what the store has to be told."""

NOT_TAKEN: Final = (
    "The ledger has the change, but the counters did not take it; do it again, and restart the service if "
    "that does not help."
)
NOT_TOLD: Final = (
    "The ledger has the change, and the counters do not have it yet: a worker tells them as soon as they can "
    "be reached. Do it again to be told when they have it."
)


class NotTold(StoreUnavailable):
    """The ledger has a change that the counters do not have yet."""


class Committed(NamedTuple, Generic[T]):
    result: T
    changes: Sequence[Change]
    epoch: str = ""
    """In which the change was made; there it has to be told."""
    note: int = 0
    """Where it is written down that the store may not know."""


class Teller:
    """Changes the ledger and tells the store. `shared` is the same store, where several processes use it."""

    def __init__(
        self, ledger: LedgerThread, store: CounterStore, clock: Clock, shared: SharedStore | None = None
    ) -> None:
        self.ledger = ledger
        self.shared = shared
        self._store = store
        self._clock = clock

    async def change(self, work: Work[T]) -> T:
        """Both, or StoreUnavailable that says what is done and what is not."""
        committed = await self.commit(work)
        await self.tell(committed)
        return committed.result

    async def commit(self, work: Work[T], staying: str | None = None) -> Committed[T]:
        """The ledger's half. `staying` names the epoch that the work came from, and it fails in another."""

        def noted(tx: Tx) -> Committed[T]:
            if self.shared is None:
                return Committed(*work(tx))
            epoch = epochs.stay(tx) if staying is None else epochs.stay_in(tx, staying)
            result, changes = work(tx)
            note = untold.note(tx, changes, self._clock()) if changes else 0
            return Committed(result, changes, epoch, note)

        return await self.ledger.write(noted)

    async def tell(self, committed: Committed[T]) -> None:
        """The store's half."""
        if not committed.changes:
            return
        if self.shared is None:
            try:
                await self._sync(committed.changes)
            except StoreUnavailable as error:
                raise NotTold(str(error)) from error
            return
        try:
            if self.shared.epoch != committed.epoch:
                raise StoreUnavailable("The counters are being filled from the ledger.")
            await self._sync(committed.changes)
        except StoreUnavailable as error:
            raise NotTold(NOT_TOLD) from error
        with suppress(LedgerUnavailable):  # then it is told once more, which changes nothing
            await self.ledger.write(lambda tx: untold.forget(tx, [committed.note]))

    async def tell_again(self, before_us: int, limit: int) -> int:
        """Tell what was written down before an instant, and by now has been told by nobody."""
        shared = self.shared
        if shared is None:
            return 0
        epoch, rows = await self.ledger.read(
            lambda tx: (epochs.read(tx).id, untold.before(tx, before_us, limit))
        )
        if not rows:
            return 0
        if shared.epoch != epoch:
            raise StoreUnavailable("The counters are being filled from the ledger.")
        answers = iter(await self._ask([change for row in rows for change in row.changes]))
        # One that is not taken is heard of, and does not keep the others from being told once.
        taken = [row.seq for row in rows if {next(answers) for _ in row.changes} <= {DONE}]
        await self.ledger.write(lambda tx: untold.forget(tx, taken))
        if len(taken) < len(rows):
            raise StoreUnavailable(NOT_TAKEN)
        return len(rows)

    async def _sync(self, changes: Sequence[Change]) -> None:
        if any(each != DONE for each in await self._ask(changes)):
            raise NotTold(NOT_TAKEN)

    async def _ask(self, changes: Sequence[Change]) -> Sequence[str]:
        answers = self._store.sync(changes, self._clock())
        return answers if isinstance(answers, Sequence) else await answers
