"""Whatever sequence of batches it is asked for, the embedded store answers as a dictionary would."""

import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from metergate.core.budget import BALANCE, COST, QUOTA, RATE, SLOTS, UNITS, Draw
from metergate.core.facts import AccountFacts
from metergate.core.hold import DISPATCHED, Event, Terms
from metergate.ports import DONE, UNKNOWN, Adjust, AskBudget, Hold, PutAccount, Settle
from metergate.store import journal
from metergate.store.embedded import REAPER_LEASE_US, EmbeddedStore
from metergate.store.journal import Journal
from metergate.testing.clock import START_US
from metergate.testing.conformance.bench import an_event
from metergate.wire import decode_events, decode_holds, encode_event, encode_terms, join_events
from tests.store.model import Model

TERMS = encode_terms(Terms("a", "", "", "", "", "", "", "USD", ()))
BACKLOG = 6
ACCOUNTS = ("a", "b")
NAMES = [f"{kind}:{account}" for kind in ("credits", "used", "rate", "open") for account in ACCOUNTS]

ops = st.integers(0, 12).map(lambda n: f"op-{n}")
small = st.integers(0, 4)


@st.composite
def holds(draw: st.DrawFn) -> Hold:
    account = draw(st.sampled_from(ACCOUNTS))
    every = [
        Draw(SLOTS, f"open:{account}", 1, 0, draw(st.integers(1, 3))),
        Draw(RATE, f"rate:{account}", draw(small), draw(st.integers(1, 5)), draw(st.integers(0, 12))),
        Draw(QUOTA, f"used:{account}", draw(small), draw(st.integers(0, 2)), 10, 0, UNITS),
        Draw(BALANCE, f"credits:{account}", draw(small), draw(st.integers(-3, 0)), 0, 0, COST),
    ]
    wanted = draw(st.sets(st.integers(0, 3)))
    draws = tuple(each for n, each in enumerate(every) if n in wanted)
    op = draw(ops)
    return Hold(op, account, draw(st.integers(0, 2)), draws, START_US + draw(small), TERMS, f"req-{op}")


class EmbeddedStoreMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="metergate-test-")
        self.store = EmbeddedStore(Journal(Path(self.folder.name), segment_bytes=512), backlog=BACKLOG)
        self.model = Model(BACKLOG)
        self.now_us = START_US
        self.entries: list[int] = []
        """How many events each entry of the outbox holds."""

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.check_journal()
            self.store.close()
            self.folder.cleanup()

    @rule(account=st.sampled_from(ACCOUNTS), balance=st.integers(0, 20))
    def put_account(self, account: str, balance: int) -> None:
        assert list(self.store.sync((PutAccount(AccountFacts(account), balance),), self.now_us)) == [DONE]
        self.model.budgets.setdefault(f"credits:{account}", balance)
        self.model.generations[account] = self.model.generations.get(account, 0) + 1

    @rule(account=st.sampled_from(ACCOUNTS), delta=st.integers(-5, 15), number=st.integers(0, 10**9))
    def adjust(self, account: str, delta: int, number: int) -> None:
        answer = self.store.sync((Adjust(f"{number}:{account}:{delta}", account, delta),), self.now_us)[0]
        if account not in self.model.generations:
            assert answer == UNKNOWN
        else:
            before = self.model.budgets[f"credits:{account}"]
            told = self.store.state((AskBudget(f"credits:{account}"),))[0]
            assert told in (before, before + delta)  # the same number drawn twice counts once
            self.model.budgets[f"credits:{account}"] = before if told == before else before + delta

    @rule(batch=st.lists(holds(), max_size=4), current=st.booleans())
    def hold(self, batch: list[Hold], current: bool) -> None:
        if current:
            known = self.model.generations
            batch = [hold._replace(generation=known.get(hold.account, 0)) for hold in batch]
        expected = [self.model.hold(hold, self.now_us) for hold in batch]
        assert list(self.store.hold(batch, self.now_us)) == expected

    @rule(op=ops)
    def hold_again(self, op: str) -> None:
        if op in self.model.calls:
            hold = self.model.calls[op].hold._replace(expires_at_us=self.now_us)
            assert list(self.store.hold((hold,), self.now_us)) == [self.model.hold(hold, self.now_us)]

    @rule(op=ops)
    def dispatch(self, op: str) -> None:
        self.store.dispatch(op)
        self.model.dispatch(op)

    @rule(batch=st.lists(st.tuples(ops, small, st.booleans()), max_size=3))
    def settle(self, batch: list[tuple[str, int, bool]]) -> None:
        settles = []
        for op, actual, changed in batch:
            known = self.model.calls.get(op)
            amounts = (actual,) * (len(known.hold.draws) if known else 1)
            settles.append(Settle(op, amounts, an_event(op, "/other" if changed else "/")))
        before = len(self.model.outbox)
        assert list(self.store.settle(settles, self.now_us)) == [self.model.settle(each) for each in settles]
        if len(self.model.outbox) > before:
            self.entries.append(len(self.model.outbox) - before)

    @rule(batch=st.lists(ops, max_size=3))
    def release(self, batch: Sequence[str]) -> None:
        expected = [self.model.release(op) for op in batch]
        assert list(self.store.release(batch, self.now_us)) == expected

    @rule(batch=st.lists(ops, max_size=3))
    def lapse(self, batch: Sequence[str]) -> None:
        expected = [self.model.lapse(op) for op in batch]
        assert list(self.store.lapse(batch, self.now_us)) == expected

    @rule(batch=st.lists(ops, max_size=3), later=small)
    def renew(self, batch: Sequence[str], later: int) -> None:
        expected = [self.model.renew(op, self.now_us + later) for op in batch]
        assert list(self.store.renew(batch, self.now_us + later)) == expected

    @rule(later=st.integers(0, 3), limit=st.integers(1, 4))
    def expire(self, later: int, limit: int) -> None:
        self.now_us += later
        expired = self.store.expire(self.now_us, limit)
        due = {op for op, known in self.model.open.items() if known.expires_at_us <= self.now_us}
        assert len(expired) == min(limit, len(due))
        for each in expired:
            known = self.model.calls[each.op]
            assert each.op in due
            assert each.dispatched == (known.state == DISPATCHED)
            assert (each.request_id, each.terms) == (known.hold.request_id, TERMS)
            known.expires_at_us = self.now_us + REAPER_LEASE_US

    @rule(limit=st.integers(0, 4), lost=st.booleans())
    def flush(self, limit: int, lost: bool) -> None:
        entries = self.store.drain(limit)
        events = sum(self.entries[:limit])
        assert [entry.events for entry in entries] == [
            join_events(self.model.outbox[end - size : end])
            for end, size in zip(accumulate(self.entries), self.entries[:limit], strict=False)
        ]
        if not lost:
            assert list(self.store.acknowledge([entry.id for entry in entries])) == [DONE] * len(entries)
            del self.model.outbox[:events], self.entries[:limit]

    @invariant()
    def budgets_are_equal(self) -> None:
        if hasattr(self, "store"):
            told = self.store.state([AskBudget(name) for name in NAMES])
            assert [value or 0 for value in told] == [self.model.budgets.get(name, 0) for name in NAMES]
            health = self.store.health()
            assert (health.backlog, health.open_holds) == (len(self.model.outbox), len(self.model.open))

    def check_journal(self) -> None:
        """A process that dies now leaves everything that another must know."""
        settled: set[Event] = set()
        running: dict[str, None] = {}
        for kind, payload in journal.read(Path(self.folder.name)):
            if kind == journal.DISPATCHED:
                running.update(dict.fromkeys(op for op, *_ in decode_holds(payload)))
            elif kind == journal.SETTLED:
                settled |= {encode_event(event) for event in decode_events(payload)}
                for event in decode_events(payload):
                    running.pop(event.op, None)
            else:
                running.pop(payload.decode(), None)
        assert set(self.model.outbox) <= settled
        assert set(running) == {op for op, known in self.model.open.items() if known.state == DISPATCHED}


TestMachine = EmbeddedStoreMachine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
