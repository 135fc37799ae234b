"""The counter store's contract, and the clock.

Every operation comes in batches and carries an id made by the caller; doing one again answers the same and
changes nothing. A store that needs no I/O answers with a list, one that does with an awaitable of it: the
gate takes either. `metergate.testing.conformance` is this page as tests.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from metergate.core.budget import Draw
from metergate.core.facts import AccountFacts, Caller, KeyFacts
from metergate.core.hold import Event
from metergate.core.idempotency import Twin

Clock = Callable[[], int]
"""Microseconds since the epoch, UTC."""

T = TypeVar("T")
Answers = Sequence[T] | Awaitable[Sequence[T]]


async def answered(answers: Answers[T]) -> Sequence[T]:
    """The answers of a store, whether it had them at once or not."""
    return await answers if isinstance(answers, Awaitable) else answers


# What a store answers to a hold.
GRANTED = "granted"
DENIED = "denied"  # `position` names the draw that did not fit, `value` what its budget holds
STALE = "stale"  # the account or one of its keys has changed since `generation`: read it again
CONFLICT = "conflict"  # the id is known with other contents
ENDED = "ended"  # the hold of this id has ended
FULL = "full"  # too many events wait for the ledger
TWIN_RUNNING = "twin_running"  # a call with the same idempotency key is still open
TWIN_DONE = "twin_done"  # it was done; `answer` is what was kept of it
TWIN_OTHER = "twin_other"  # the idempotency key was used for another request

# What a store answers to a settle, release or renewal.
DONE = "done"
UNKNOWN = "unknown"


class Hold(NamedTuple):
    """Amounts of several budgets, all or none. No two draws of a hold name the same budget."""

    op: str
    account: str
    generation: int
    draws: tuple[Draw, ...]
    expires_at_us: int
    terms: bytes
    request_id: str
    twin: Twin | None = None
    dispatched: bool = False
    """Whether the call goes on as soon as it is granted, so that it is told of its `dispatch` already."""


class Held(NamedTuple):
    status: str
    values: tuple[int, ...] = ()
    """Of a granted hold: what each budget holds after its draw."""
    position: int = 0
    value: int = 0
    answer: bytes | None = None


class Settle(NamedTuple):
    op: str
    amounts: tuple[int, ...] | None
    """What each draw really came to; None when all came to what was held and no slot is to be freed."""
    event: Event
    answer: bytes | None = None
    """What a later twin of the call is answered with."""


class Expired(NamedTuple):
    op: str
    request_id: str
    dispatched: bool
    terms: bytes
    twin: Twin | None = None


class Entry(NamedTuple):
    """What one settle batch left in the outbox."""

    id: str
    events: bytes
    """Usage events as `wire.join_events` puts them together."""


class PutAccount(NamedTuple):
    """Make an account known, or change its facts. `balance` counts only where the account is new."""

    account: AccountFacts
    balance: int = 0


class PutKey(NamedTuple):
    key: KeyFacts


class Adjust(NamedTuple):
    """Add to a balance (take away, when negative), once per id."""

    id: str
    account: str
    delta: int


class PutBudget(NamedTuple):
    """Set the counter of a window where the store does not have it yet."""

    name: str
    value: int
    until_us: int


class PutTwin(NamedTuple):
    """Remember a finished call with an idempotency key, where the store does not know it yet."""

    twin: Twin
    answer: bytes | None


Change = PutAccount | PutKey | Adjust | PutBudget | PutTwin


class AskKey(NamedTuple):
    kid: str


class AskAccount(NamedTuple):
    id: str


class AskBudget(NamedTuple):
    name: str


Ask = AskKey | AskAccount | AskBudget
Told = Caller | int | None
"""A caller for a key or an account, a number for a budget, None for what is not known."""


class Danger(NamedTuple):
    """A setting of what metergate stands on that endangers money."""

    sentence: str
    """Without its full stop; what to do stands at its end."""
    strict: bool = False
    """Whether the profile `strict` refuses it."""
    always: bool = False
    """Whether every profile does."""
    told_by_doctor: bool = False
    """Whether `metergate doctor` alone tells of it, because nothing is lost by it."""


class StoreHealth(NamedTuple):
    name: str
    ok: bool
    backlog: int
    open_holds: int
    detail: str = ""
    shared: bool = False
    """Whether several processes may use it at once."""
    warnings: tuple[str, ...] = ()
    """What its settings endanger, a sentence each."""


class CounterStore(Protocol):
    def hold(self, batch: Sequence[Hold], now_us: int) -> Answers[Held]:
        """Raises StoreUnavailable when what was granted cannot be remembered."""

    def dispatch(self, op: str) -> None:
        """Remember that the call is about to reach the app or the upstream. Never waits.

        Raises StoreUnavailable when that cannot be remembered: then the call must not go on.
        """

    def settle(self, batch: Sequence[Settle], now_us: int) -> Answers[str]: ...

    def release(self, ops: Sequence[str], now_us: int) -> Answers[str]: ...

    def lapse(self, ops: Sequence[str], now_us: int) -> Answers[str]:
        """Give back holds whose calls never went on, and forget them.

        What was dispatched meanwhile stays and answers UNKNOWN. A call that went on all the same, and whose
        `dispatch` was lost, hears UNKNOWN when it ends, and is charged as one that the store has lost.
        """

    def renew(self, ops: Sequence[str], expires_at_us: int) -> Answers[str]: ...

    def expire(self, now_us: int, limit: int) -> Answers[Expired]:
        """Holds whose time is over. Each is handed out again only after a while, so one reaper ends it."""

    def drain(self, limit: int) -> Answers[Entry]:
        """The oldest entries that nobody has acknowledged; they stay until somebody does."""

    def acknowledge(self, ids: Sequence[str]) -> Answers[str]: ...

    def sync(self, changes: Sequence[Change], now_us: int) -> Answers[str]: ...

    def state(self, asks: Sequence[Ask]) -> Answers[Told]: ...

    def health(self) -> StoreHealth: ...


class Standing(NamedTuple):
    """What a shared store says of itself."""

    epoch: str
    """Under which everything in it was written; empty where nothing ever was, or all is lost."""
    open: bool
    """Whether calls are served; not while somebody fills it."""
    sequence: tuple[int, ...] = ()
    """Counts the changes, once per shard. One that has gone back tells of a lost tail."""


@runtime_checkable
class Timed(Protocol):
    """A shared store with a clock of its own."""

    async def time_us(self) -> int:
        """What time it is there."""


class SharedStore(CounterStore, Protocol):
    """A counter store that several processes use at once, and that outlives each of them.

    For `store: foo://…` it is what `metergate_foo.open_store(url, space=…, backlog=…)` answers, without I/O;
    in the profile `strict` it is asked with `strict=True` too, and refuses what may lose what it took.
    Everything in it is one ledger's: `space` is part of the names of its keys, so that the same server may
    serve several ledgers.

    Everything in it belongs to an epoch. A process works in the epoch that it has entered: every operation of
    `CounterStore` carries the epoch that was entered when it was called, and raises StoreUnavailable where
    the store is closed, has another epoch or none, or has gone back. From then on `epoch` is empty and every
    operation raises at once, without asking, until an epoch is entered again. A store never enters one by
    itself, for only the ledger knows which is true. A connection that breaks changes no epoch.

    What is lost is filled anew from the ledger by one process, which holds a lock there: `begin`, post and
    `discard` what is `left_over`, `fill`, `reopen`. Each raises StoreUnavailable in another epoch.

    A release of an unknown op is remembered: a hold that was on its way, and comes after it, answers ENDED.
    Puts of accounts and keys whose `version` is below that of what is known change nothing, and are DONE.
    The id of an Adjust is remembered as long as the epoch.
    """

    async def connect(self) -> None:
        """Reach the server and keep in touch with it.

        ConfigurationError where its settings endanger money, StoreUnavailable where it is away: then the
        store goes on trying until it is closed.
        """

    async def close(self) -> None: ...

    @property
    def epoch(self) -> str:
        """The epoch that this process has entered; empty while it has none."""

    @property
    def sequence(self) -> tuple[int, ...]:
        """How far the store was seen to be in the epoch that was entered last."""

    async def standing(self) -> Standing:
        """Ask the store itself, whatever was entered."""

    def enter(self, epoch: str, sequence: Sequence[int] = ()) -> None:
        """Work in an epoch from now on; empty is none. A store below the given sequence has gone back."""

    async def unposted(self) -> Entry | None:
        """The oldest entry of the outbox, whoever is about to post it."""

    async def mark(self) -> str:
        """Where the outbox ends now; empty where nothing is in it."""

    async def posted(self, mark: str) -> bool:
        """Whether everything up to a mark of the same epoch has been acknowledged."""

    async def begin(self, epoch: str) -> None:
        """Close the store for all, under a new epoch, and forget everything but the outbox."""

    async def left_over(self, epoch: str, limit: int) -> Sequence[Entry]:
        """The oldest entries of the outbox of a closed store, whoever was about to post them."""

    async def discard(self, epoch: str, ids: Sequence[str]) -> None:
        """Delete entries of a closed store that the ledger has."""

    async def fill(self, epoch: str, changes: Sequence[Change], now_us: int) -> None:
        """Make changes in a closed store; may come in parts."""

    async def reopen(self, epoch: str) -> None:
        """Serve again. Processes enter the epoch when they see that it is there."""
