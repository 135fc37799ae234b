"""Whatever sequence of batches it is asked for, the store on Redis answers as the embedded one does.

The same operations go to both, with numbers small and beyond the exact range of doubles. Hypothesis looks for
a sequence after which they disagree, and shortens it.
"""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from metergate.core.budget import BALANCE, COST, QUOTA, RATE, SLOTS, UNBOUNDED, UNITS, Draw
from metergate.core.facts import AccountFacts, Caller, KeyFacts
from metergate.core.idempotency import Twin
from metergate.ports import (
    DENIED,
    GRANTED,
    Adjust,
    Answers,
    Ask,
    AskAccount,
    AskBudget,
    AskKey,
    Change,
    CounterStore,
    Entry,
    Held,
    Hold,
    PutAccount,
    PutBudget,
    PutKey,
    PutTwin,
    Settle,
    answered,
)
from metergate.store.embedded import EmbeddedStore
from metergate.testing.clock import START_US
from metergate.testing.conformance.bench import TERMS, an_event
from metergate.wire import decode_events
from metergate_redis import RedisStore
from metergate_redis.address import parse
from tests.valkey import Server, redis_binary, running, valkey_binary

T = TypeVar("T")

BACKLOG = 8
ACCOUNTS = ("a", "b")
KINDS = ("credits", "used", "rate:account", "open:account")
NAMES = [f"{kind}:{account}" for kind in KINDS for account in ACCOUNTS]
SPACES = itertools.count()
FAR_US = START_US + 10**15
HOUR_US = 3600 * 10**6

ops = st.tuples(st.sampled_from(ACCOUNTS), st.integers(0, 5)).map(lambda op: f"{op[0]}-{op[1]}")
"""An id is one call's, and so one account's."""
small = st.integers(0, 4)
EDGES = (2**53 - 1, 2**53 + 1, 4 * 10**15 - 1, 4 * 10**15, 4 * 10**15 + 1, 10**12, 2**60 + 1)
amounts = small | st.sampled_from(EDGES)
bounds = st.integers(-4, 12) | st.sampled_from((*EDGES, UNBOUNDED)) | st.sampled_from([-n for n in EDGES])
fingerprints = st.sampled_from(["same", "other"])


def twins(account: str) -> st.SearchStrategy[Twin | None]:
    ids = st.sampled_from([f"{account}-1", f"{account}-2"])
    return st.none() | st.builds(Twin, ids, fingerprints, st.just(FAR_US))


@st.composite
def holds(draw: st.DrawFn) -> Hold:
    op, request = draw(ops), draw(st.sampled_from(["", "-again"]))
    account = op[0]
    until = draw(st.sampled_from((0, START_US + HOUR_US, FAR_US)))
    every = [
        Draw(SLOTS, f"open:account:{account}", 1, 0, draw(st.integers(1, 3))),
        Draw(
            RATE,
            f"rate:account:{account}",
            draw(small),
            draw(st.integers(1, 5) | amounts),
            draw(small | amounts),
        ),
        Draw(QUOTA, f"used:{account}", draw(amounts), draw(bounds), draw(bounds), until, UNITS),
        Draw(BALANCE, f"credits:{account}", draw(amounts), draw(bounds), 0, 0, COST),
    ]
    wanted = draw(st.sets(st.integers(0, 3)))
    draws = tuple(each for n, each in enumerate(every) if n in wanted)
    expires = START_US + draw(small)
    return Hold(
        op, account, 0, draws, expires, TERMS, op + request, draw(twins(account)), draw(st.booleans())
    )


@st.composite
def changes(draw: st.DrawFn) -> Change:
    account, number = draw(st.sampled_from(ACCOUNTS)), draw(st.integers(-5, 20) | st.sampled_from(EDGES))
    key = KeyFacts(f"kid-{draw(small)}", account, "ab", revoked=draw(st.booleans()))
    until = draw(st.sampled_from((START_US + HOUR_US, FAR_US)))
    every: list[Change] = [
        PutAccount(AccountFacts(account, f"plan-{number}"), max(0, number)),
        PutKey(key),
        Adjust(f"adjust-{account}-{draw(small)}", account, number),
        PutBudget(f"used:{account}", max(0, number), until),
        PutTwin(Twin(f"{account}-2", draw(fingerprints), FAR_US), draw(st.none() | st.binary(max_size=4))),
    ]
    return draw(st.sampled_from(every))


class Machine(RuleBasedStateMachine):
    url = ""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.now_us = START_US
        self.draws: dict[str, int] = {}
        """How many draws the hold of an op has that was granted, or denied."""
        self.embedded = EmbeddedStore(None, backlog=BACKLOG)
        self.redis = self.wait(self.opened())
        self.stores: tuple[CounterStore, CounterStore] = (self.embedded, self.redis)

    async def opened(self) -> RedisStore:
        store = RedisStore(parse(self.url), space=f"model-{next(SPACES)}", backlog=BACKLOG)
        await store.connect()
        await store.begin("only")
        await store.reopen("only")
        store.enter("only")
        return store

    def teardown(self) -> None:
        if hasattr(self, "redis"):
            self.wait(self.redis.close())
            self.runner.close()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def both(self, first: Answers[T], second: Answers[T]) -> Sequence[T]:
        """The answers of both, which are one."""
        expected = self.wait(answered(first))
        assert list(self.wait(answered(second))) == list(expected)
        return expected

    def generation(self, store: CounterStore, account: str) -> int:
        (told,) = self.wait(answered(store.state((AskAccount(account),))))
        return told.generation if isinstance(told, Caller) else -1

    @rule(batch=st.lists(changes(), max_size=4))
    def sync(self, batch: list[Change]) -> None:
        self.both(self.embedded.sync(batch, self.now_us), self.redis.sync(batch, self.now_us))

    @rule(batch=st.lists(holds(), max_size=4), current=st.booleans())
    def hold(self, batch: list[Hold], current: bool) -> None:
        self.hold_both(batch, 0 if current else 1)

    def hold_both(self, batch: Sequence[Hold], behind: int) -> None:
        told: list[Sequence[Held]] = []
        for store in self.stores:
            known = {account: self.generation(store, account) - behind for account in ACCOUNTS}
            here = [hold._replace(generation=known[hold.account]) for hold in batch]
            told.append(list(self.wait(answered(store.hold(here, self.now_us)))))
        assert told[0] == told[1]
        for hold, answer in zip(batch, told[0], strict=True):
            if answer.status in (GRANTED, DENIED):
                self.draws[hold.op] = len(hold.draws)

    @rule(op=ops)
    def dispatch(self, op: str) -> None:
        for store in self.stores:
            store.dispatch(op)

    @rule(batch=st.lists(st.tuples(ops, amounts, st.booleans(), st.booleans()), max_size=4))
    def settle(self, batch: list[tuple[str, int, bool, bool]]) -> None:
        ends = [
            Settle(
                op,
                (actual,) * self.draws.get(op, 0) if corrected else None,
                an_event(op, "/other" if changed else "/"),
                b"kept",
            )
            for op, actual, changed, corrected in batch
        ]
        self.both(self.embedded.settle(ends, self.now_us), self.redis.settle(ends, self.now_us))

    @rule(batch=st.lists(ops, max_size=3))
    def release(self, batch: Sequence[str]) -> None:
        """Only of what was asked for before: a store that is shared remembers the others, too."""
        here = [op for op in batch if op in self.draws]
        self.both(self.embedded.release(here, self.now_us), self.redis.release(here, self.now_us))

    @rule(batch=st.lists(ops, max_size=3))
    def lapse(self, batch: Sequence[str]) -> None:
        self.both(self.embedded.lapse(batch, self.now_us), self.redis.lapse(batch, self.now_us))

    @rule(batch=st.lists(ops, max_size=3), later=small)
    def renew(self, batch: Sequence[str], later: int) -> None:
        until = self.now_us + later
        self.both(self.embedded.renew(batch, until), self.redis.renew(batch, until))

    @rule(later=st.integers(0, 3) | st.sampled_from((HOUR_US, 2 * HOUR_US)))
    def expire(self, later: int) -> None:
        self.now_us += later
        found = [sorted(self.wait(answered(store.expire(self.now_us, 100)))) for store in self.stores]
        assert found[0] == found[1]

    @rule(lost=st.booleans())
    def flush(self, lost: bool) -> None:
        drained = [self.wait(answered(store.drain(100))) for store in self.stores]
        assert events_of(drained[0]) == events_of(drained[1])
        if not lost:
            for store, entries in zip(self.stores, drained, strict=True):
                self.wait(answered(store.acknowledge([entry.id for entry in entries])))

    @invariant()
    def both_know_the_same(self) -> None:
        if not hasattr(self, "redis"):
            return
        asks: list[Ask] = [AskBudget(name) for name in NAMES]
        told = [self.wait(answered(store.state(asks))) for store in self.stores]
        assert [each or 0 for each in told[0]] == [each or 0 for each in told[1]]
        facts: list[Ask] = [*map(AskAccount, ACCOUNTS), *[AskKey(f"kid-{n}") for n in range(5)]]
        known = [self.wait(answered(store.state(facts))) for store in self.stores]
        assert [_but_generation(each) for each in known[0]] == [_but_generation(each) for each in known[1]]
        health = [store.health() for store in self.stores]
        assert (health[0].backlog, health[0].open_holds) == (health[1].backlog, health[1].open_holds)


def events_of(entries: Sequence[Entry]) -> list[str]:
    return [event.op + event.path for entry in entries for event in decode_events(entry.events)]


def _but_generation(told: object) -> object:
    return told._replace(generation=0) if isinstance(told, Caller) else told


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(valkey_binary() if request.param == "valkey" else redis_binary(), ()) as started:
        yield started


@pytest.mark.parametrize("shards", [1, 3])
def test_it_answers_as_the_embedded_store_does(server: Server, shards: int) -> None:
    class OnServer(Machine):
        url = f"{server.url}?shards={shards}&timeout=10s"

    run_state_machine_as_test(OnServer, settings=settings(max_examples=20, stateful_step_count=30))
