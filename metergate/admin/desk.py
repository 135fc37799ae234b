"""What every subject of the office works with, and the one rule of its changes.

The ledger comes first: a change and its audit row are one transaction. Then the counter store is told, so
that the very next call meets the change. Doing the same again is harmless, and mends a store that was left
behind; one that is shared is also mended by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from metergate.core.policy import Policy
from metergate.core.report import Receipt, Report
from metergate.errors import NoProvider, StoreUnavailable
from metergate.ledger import audit
from metergate.ledger.database import Tx
from metergate.ledger.telling import Teller
from metergate.ledger.thread import LedgerThread
from metergate.ports import Answers, Change, Clock, CounterStore

if TYPE_CHECKING:
    from metergate.admin.payments import Till

T = TypeVar("T")
Json = dict[str, Any]
Details = Mapping[str, object]


Recorder = Callable[[Report], Awaitable[Receipt]]
Explainer = Callable[[str, str, str | None, str], Awaitable[Sequence[Json]]]
"""Method, path and account of a request -> why it would be admitted or refused, step by step."""


async def _nobody_records(_recording: Report) -> Receipt:
    raise StoreUnavailable("No gate runs here that could record usage; ask the process that serves the API.")


async def _nothing_to_reload() -> None:
    raise StoreUnavailable("No gate runs here whose policy could be read anew.")


async def _nobody_explains(_method: str, _path: str, _account: str | None, _body: str) -> Sequence[Json]:
    raise StoreUnavailable("No gate runs here that could explain; ask the process that serves the API.")


async def _nobody_decides(_asked: Json) -> Json:
    raise StoreUnavailable("No gate runs here that could decide; ask the process that serves the API.")


async def _as_it_is() -> None:
    """The ledger is read as it is, and nobody else is there."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the office asks of rooms that it does not know."""

    record: Recorder = _nobody_records
    """The gate's record path: usage is never written into the ledger behind the counters' back."""
    reload: Callable[[], Awaitable[object]] = _nothing_to_reload
    """Read the policy file anew; raises and changes nothing when it has a mistake."""
    elsewhere: Callable[[], Awaitable[object]] = _as_it_is
    """Have the other processes that share this store and folder read their policy files anew."""
    refresh: Callable[[], Awaitable[object]] = _as_it_is
    """Bring settled usage into the ledger before somebody reads it there."""
    held: Callable[[str], int] | None = None
    """Nanos that an account's open calls have set aside; None where other processes have calls too."""
    granted: Callable[[], object] = lambda: None
    """A grant was given; the next one to expire may be another."""
    worker: Callable[[], Mapping[str, object]] = dict
    """How the worker is: at least `ok`, and what it says of itself."""
    decide: Callable[[Json], Awaitable[Json]] = _nobody_decides
    """A request to the decision API, as `api.relay` sends it."""
    measure: Callable[[], Mapping[str, object]] = dict
    """Numbers since the process started: of the gate's decisions, and of the worker."""
    till: "Till | None" = None
    """Who takes payments; None where nobody does."""
    explain: Explainer = _nobody_explains
    """Why the gate would admit or refuse a request."""
    describe: Callable[[], Mapping[str, object]] = dict
    """More of the policy than its values: what became of requests under it."""


@dataclass(frozen=True, slots=True)
class Desk:
    teller: Teller
    store: CounterStore
    policy: Callable[[], Policy]
    clock: Clock
    peppers: Mapping[int, bytes]
    hooks: Hooks
    actor: str
    untold: set[str] = field(default_factory=set)
    """Grants that may be in the ledger while the store does not know of them."""
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    _running: set[asyncio.Future[Any]] = field(default_factory=set)

    @property
    def ledger(self) -> LedgerThread:
        return self.teller.ledger

    @property
    def till(self) -> "Till":
        """Who takes payments, where somebody does."""
        if self.hooks.till is None:
            raise NoProvider("No payment provider is at work here: name one in the policy.")
        return self.hooks.till

    async def change(self, work: Callable[[Tx], tuple[T, Sequence[Change]]], grants: Sequence[str] = ()) -> T:
        """Commit the work, then tell the store; a client that leaves in between does not stop it."""
        running = asyncio.ensure_future(self._change(work, grants))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.shield(running)

    async def _change(self, work: Callable[[Tx], tuple[T, Sequence[Change]]], grants: Sequence[str]) -> T:
        # One after the other: otherwise older facts of an account could reach the store after newer ones. In
        # a shared store, which knows the versions of facts, they cannot.
        async with self._one_at_a_time:
            try:
                result = await self.teller.change(work)
            except StoreUnavailable:
                self.untold.update(grants)
                raise
            self.untold.difference_update(grants)
        return result

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self.ledger.read(work)

    async def fresh(self, work: Callable[[Tx], T]) -> T:
        """Read what includes the usage of a moment ago. A ledger that is away says so by itself."""
        await self.hooks.refresh()
        return await self.ledger.read(work)

    async def ask(self, answers: Answers[T]) -> Sequence[T]:
        return answers if isinstance(answers, Sequence) else await answers

    def note(self, tx: Tx, action: str, subject: str, details: Details | None = None) -> None:
        audit.note(tx, self.clock(), self.actor, action, subject, details)

    def must_tell(self, grant: str, *, repeated: bool) -> bool:
        """Whether the store has to be told of a grant.

        Balances that a store loads contain every grant of the ledger: telling it of an old one again would
        give the credits twice. What a shared store has not been told is written down in the ledger.
        """
        return not repeated or (grant in self.untold and self.teller.shared is None)


def page(rows: Iterable[Json], limit: int, cursors: Sequence[object]) -> Json:
    """The form of every list; one row more than the limit was asked for, to know whether there are more."""
    data = list(rows)[:limit]
    more = len(cursors) > limit
    return {"data": data, "has_more": more, "after": str(cursors[limit - 1]) if more else None}
