"""The embedded counter store: budgets in memory, changed by the core's pure functions, every step journalled.

Nothing here waits: a verdict is there at once. A step is written to the journal before it changes a budget,
so that whatever a killed process has answered can be read again. One process owns the journal's folder.
"""

from collections.abc import Sequence
from itertools import islice

from metergate.core.budget import BALANCE, Draw, correct
from metergate.core.facts import AccountFacts, Caller, KeyFacts
from metergate.core.hold import LATE_US, Event
from metergate.errors import StoreUnavailable
from metergate.ports import (
    CONFLICT,
    DENIED,
    DONE,
    ENDED,
    FULL,
    GRANTED,
    STALE,
    UNKNOWN,
    Adjust,
    Ask,
    AskAccount,
    AskKey,
    Change,
    CounterStore,
    Entry,
    Expired,
    Held,
    Hold,
    PutAccount,
    PutBudget,
    PutKey,
    Settle,
    StoreHealth,
    Told,
)
from metergate.store import journal as records
from metergate.store.journal import Journal, segment_of
from metergate.store.outbox import EVENTS_AT_ONCE, Outbox
from metergate.store.taking import UNDISPATCHED, Open, Taking
from metergate.store.twins import Twins
from metergate.wire import decode_events, encode_event, join_holds

ENDED_KEPT = 4096
"""How many ended operations answer a repetition; after that the ledger's unique id is the guard."""
CARRIED_AT_ONCE = 1024
REAPER_LEASE_US = 30 * 10**6


_STALE = Held(STALE)
_FULL = Held(FULL)


class EmbeddedStore:
    def __init__(self, journal: Journal | None, *, backlog: int = 1_000_000) -> None:
        self._journal = journal
        self._backlog = backlog
        self._budgets: dict[str, int] = {}
        self._ends: dict[int, list[str]] = {}
        self._accounts: dict[str, AccountFacts] = {}
        self._keys: dict[str, KeyFacts] = {}
        self._generations: dict[str, int] = {}
        self._open: dict[str, Open] = {}
        self._ended: dict[str, bytes | Held] = {}
        """How operations ended: the joined events among which a settle's is, nothing for a release."""
        self._ended_before: dict[str, bytes | Held] = {}
        self._outbox = Outbox(journal)
        self._adjusted: dict[str, int] = {}
        self._twins = Twins()

    # -- calls ---------------------------------------------------------------------------------------------

    def hold(self, batch: Sequence[Hold], now_us: int) -> Sequence[Held]:
        taking = Taking(self._budgets, now_us)
        answers = [self._hold(each, taking, now_us) for each in batch]
        # The journal comes first: where it cannot be written, nothing has changed.
        self._write_taking(taking)
        self._budgets.update(taking.after)
        self._open.update(taking.opened)
        for until_us, name in taking.windows:
            self._ends.setdefault(until_us, []).append(name)
        return answers

    def _hold(self, hold: Hold, taking: Taking, now_us: int) -> Held:
        op, twin = hold.op, hold.twin
        if op in self._open or op in taking.opened or op in self._ended or op in self._ended_before:
            return self._known(hold, taking)
        if self._generations.get(hold.account) != hold.generation:
            return _STALE
        if twin is not None and (known := self._twins.verdict(twin, now_us)) is not None:
            return known
        if self._outbox.waiting >= self._backlog:
            return _FULL
        held = taking.take(hold)
        if held.status == DENIED:
            self._end(op, held)
        elif twin is not None:
            self._twins.began(twin)
        return held

    def _known(self, hold: Hold, taking: Taking) -> Held:
        """A hold that was seen before: the same answer, or what has become of it."""
        opened = self._open.get(hold.op) or taking.opened.get(hold.op)
        if opened is not None:
            same = opened.hold._replace(expires_at_us=hold.expires_at_us) == hold
            return Held(GRANTED, opened.values) if same else Held(CONFLICT)
        ended = self._how_ended(hold.op)
        return ended if isinstance(ended, Held) else Held(ENDED)

    def dispatch(self, op: str) -> None:
        opened = self._open.pop(op, None)
        if opened is None:
            return
        # Back at the end: dispatched holds stand in the order of their journal records.
        self._open[op] = opened
        opened.position = self._write_dispatched([opened.hold])

    def settle(self, batch: Sequence[Settle], now_us: int) -> Sequence[str]:
        events: list[Event] = []
        answers = [self._settle(each, events) for each in batch]
        for start in range(0, len(events), EVENTS_AT_ONCE):
            self._put_out(events[start : start + EVENTS_AT_ONCE])
        return answers

    def _settle(self, settle: Settle, events: list[Event]) -> str:
        op, amounts, event, answer = settle
        opened = self._open.pop(op, None)
        if opened is None:
            return self._settled_again(op, event, events)
        hold = opened.hold
        if amounts is not None:
            self._correct(hold.draws, amounts)
        if hold.twin is not None:
            self._twins.ended(hold.twin, answer)
        events.append(event)
        return DONE

    def _correct(self, draws: Sequence[Draw], amounts: Sequence[int]) -> None:
        budgets = self._budgets
        for draw, actual in zip(draws, amounts, strict=True):
            if draw.name in budgets:
                budgets[draw.name] = correct(draw, budgets[draw.name], actual)

    def release(self, ops: Sequence[str], now_us: int) -> Sequence[str]:
        return [self._release(op) for op in ops]

    def _release(self, op: str) -> str:
        opened = self._open.pop(op, None)
        if opened is None:
            return self._released_again(op)
        if opened.position != UNDISPATCHED:
            self._try_write(records.RELEASED, op.encode())
        self._give_back(opened.hold)
        self._end(op, b"")
        return DONE

    def _give_back(self, hold: Hold) -> None:
        self._correct(hold.draws, [0] * len(hold.draws))
        if hold.twin is not None:
            self._twins.dropped(hold.twin)

    def lapse(self, ops: Sequence[str], now_us: int) -> Sequence[str]:
        return [self._lapse(op) for op in ops]

    def _lapse(self, op: str) -> str:
        opened = self._open.get(op)
        if opened is None or opened.position != UNDISPATCHED:
            return UNKNOWN
        del self._open[op]
        self._give_back(opened.hold)
        return DONE

    def renew(self, ops: Sequence[str], expires_at_us: int) -> Sequence[str]:
        return [self._renew(op, expires_at_us) for op in ops]

    def _renew(self, op: str, expires_at_us: int) -> str:
        opened = self._open.get(op)
        if opened is None:
            return UNKNOWN
        opened.expires_at_us = expires_at_us
        return DONE

    def expire(self, now_us: int, limit: int) -> Sequence[Expired]:
        self._forget_windows(now_us)
        self._twins.purge(now_us)
        due = (each for each in self._open.values() if each.expires_at_us <= now_us)
        expired = list(islice(due, limit))
        for each in expired:
            each.expires_at_us = now_us + REAPER_LEASE_US
        return [
            Expired(e.hold.op, e.hold.request_id, e.position != UNDISPATCHED, e.hold.terms, e.hold.twin)
            for e in expired
        ]

    # -- the outbox ----------------------------------------------------------------------------------------

    def drain(self, limit: int) -> Sequence[Entry]:
        return self._outbox.drain(limit)

    def acknowledge(self, ids: Sequence[str]) -> Sequence[str]:
        answers = self._outbox.acknowledge(ids)
        self._trim()
        return answers

    def _trim(self) -> None:
        """Carry the oldest open holds into the current segment and drop the segments nobody needs."""
        journal = self._journal
        if journal is None:
            return
        dispatched = [each for each in self._open.values() if each.position != UNDISPATCHED]
        for opened in dispatched[:CARRIED_AT_ONCE]:
            if segment_of(opened.position) >= journal.segment - 1 or not self._carry(opened):
                break
        needed = [opened.position for opened in dispatched] + self._outbox.first_journalled()
        journal.keep_from(min(needed, default=journal.position))

    def _carry(self, opened: Open) -> bool:
        """Tell once more of a dispatched call, further on. Where there is no room it stays where it was."""
        hold = opened.hold
        try:
            opened.position = self._write_dispatched([hold])
        except StoreUnavailable:
            return False
        self._open[hold.op] = self._open.pop(hold.op)
        return True

    # -- what the ledger's side tells ----------------------------------------------------------------------

    def sync(self, changes: Sequence[Change], now_us: int) -> Sequence[str]:
        return [self._sync(each) for each in changes]

    def _sync(self, change: Change) -> str:
        if isinstance(change, PutAccount):
            self._accounts[change.account.id] = change.account
            self._budgets.setdefault(f"credits:{change.account.id}", change.balance)
            self._touch(change.account.id)
        elif isinstance(change, PutKey):
            self._keys[change.key.kid] = change.key
            self._touch(change.key.account)
        elif isinstance(change, Adjust):
            return self._adjust(change)
        elif isinstance(change, PutBudget):
            if change.name not in self._budgets:
                self._budgets[change.name] = change.value
                self._ends.setdefault(change.until_us, []).append(change.name)
        else:
            self._twins.put(change.twin, change.answer)
        return DONE

    def _adjust(self, change: Adjust) -> str:
        name = f"credits:{change.account}"
        if change.id in self._adjusted:
            return DONE if self._adjusted[change.id] == change.delta else CONFLICT
        if name not in self._budgets:
            return UNKNOWN
        self._adjusted[change.id] = change.delta
        if len(self._adjusted) > ENDED_KEPT:
            del self._adjusted[next(iter(self._adjusted))]
        self._budgets[name] += change.delta
        return DONE

    def state(self, asks: Sequence[Ask]) -> Sequence[Told]:
        return [self._tell(each) for each in asks]

    def _tell(self, ask: Ask) -> Told:
        if isinstance(ask, AskKey):
            key = self._keys.get(ask.kid)
            account = self._accounts.get(key.account) if key else None
        elif isinstance(ask, AskAccount):
            key, account = None, self._accounts.get(ask.id)
        else:
            return self._budgets.get(ask.name)
        return Caller(account, key, self._generations[account.id]) if account else None

    def held(self, account: str) -> int:
        """What open holds have set aside of an account's balance."""
        draws = [
            draw for each in self._open.values() if each.hold.account == account for draw in each.hold.draws
        ]
        return sum(draw.amount for draw in draws if draw.kind == BALANCE)

    def prepare(self) -> None:
        """Make sure that the next journal segment has room on the disk; OSError when it has not."""
        if self._journal is not None:
            self._journal.prepare()
            self._outbox.unwritten = 0

    def sync_to_disk(self) -> None:
        """Bring the journal to the disk, for the day the power fails."""
        if self._journal is not None:
            self._journal.sync()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def health(self) -> StoreHealth:
        name = "embedded" if self._journal is not None else "memory"
        return StoreHealth(name, self._outbox.unwritten == 0, self._outbox.waiting, len(self._open))

    # -- inside --------------------------------------------------------------------------------------------

    def _touch(self, account: str) -> None:
        self._generations[account] = self._generations.get(account, 0) + 1

    def _end(self, op: str, how: bytes | Held) -> None:
        self._ended[op] = how
        self._make_room()

    def _make_room(self) -> None:
        if len(self._ended) >= ENDED_KEPT:
            self._ended_before, self._ended = self._ended, {}

    def _how_ended(self, op: str) -> bytes | Held | None:
        return self._ended.get(op, self._ended_before.get(op))

    def _settled_again(self, op: str, event: Event, batch: Sequence[Event]) -> str:
        """A hold that is not open is settled: the same way as before is fine, another is a conflict."""
        ended = self._how_ended(op)
        before = [each for each in batch if each[0] == op]
        if ended is None and not before:
            return UNKNOWN
        if isinstance(ended, bytes) and ended:
            before = [encode_event(each) for each in decode_events(ended) if each.op == op]
        return DONE if event in before else CONFLICT

    def _released_again(self, op: str) -> str:
        ended = self._how_ended(op)
        if ended is None:
            return UNKNOWN
        return DONE if ended == b"" else CONFLICT

    def _forget_windows(self, now_us: int) -> None:
        for until in [until for until in self._ends if until + LATE_US <= now_us]:
            for name in self._ends.pop(until):
                self._budgets.pop(name, None)

    def _write_taking(self, taking: Taking) -> None:
        """One record for all calls that go on as soon as they are granted."""
        if not taking.dispatched:
            return
        try:
            position = self._write_dispatched([each.hold for each in taking.dispatched])
        except StoreUnavailable:
            for each in taking.opened.values():
                if each.hold.twin is not None:
                    self._twins.dropped(each.hold.twin)
            raise
        for each in taking.dispatched:
            each.position = position

    def _write_dispatched(self, holds: Sequence[Hold]) -> int:
        journal = self._journal
        if journal is None:
            return 0
        if self._outbox.unwritten:
            raise StoreUnavailable("The journal cannot be written; make room in the data folder.")
        ops, _, _, _, _, terms, request_ids, twins, _ = zip(*holds, strict=True)
        fields = [twin.fields if twin else None for twin in twins] if any(twins) else twins
        try:
            return journal.append(records.DISPATCHED, join_holds(ops, request_ids, terms, fields))
        except OSError as error:
            raise StoreUnavailable(
                f"The journal cannot grow ({error.strerror}); make room in the data folder."
            ) from error

    def _put_out(self, events: list[Event]) -> None:
        joined = self._outbox.put(events)
        self._ended.update(dict.fromkeys([event[0] for event in events], joined))
        self._make_room()

    def _try_write(self, kind: int, payload: bytes) -> int | None:
        try:
            return self._journal.append(kind, payload) if self._journal is not None else None
        except OSError:
            return None


def _fits(store: EmbeddedStore) -> CounterStore:
    return store
