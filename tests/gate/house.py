"""A gate over a real store, with one account and one key."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from metergate.core import keys
from metergate.core.facts import AccountFacts, KeyFacts
from metergate.core.hold import UsageEvent
from metergate.core.idempotency import Twin
from metergate.core.keys import Environment
from metergate.core.policy import Meter, Plan, Policy, Route
from metergate.core.price import PerUnit, Price, PriceRule, Rate
from metergate.core.refusal import Refusal
from metergate.gate.call import Call
from metergate.gate.gate import Admitted, Replay, RequestGate
from metergate.gate.members import Member
from metergate.ports import DONE, AskBudget, Change, CounterStore, PutAccount, PutKey
from metergate.store.embedded import EmbeddedStore
from metergate.testing.clock import FakeClock
from metergate.testing.conformance import answered
from metergate.testing.stores import AwaitingStore
from metergate.wire import decode_events

T = TypeVar("T")

PEPPER = b"pepper"
METERS = {
    name: Meter(name, count)
    for name, count in {"calls": "calls", "images": "app", "rows": "json", "tokens": "bytes"}.items()
}


def at(price: int | Price) -> tuple[PriceRule, ...]:
    return (PriceRule((), PerUnit(Rate(price, 1)) if isinstance(price, int) else price),)


def a_route(match: str = "GET /", **fields: object) -> Route:
    method, _, pattern = match.partition(" ")
    route = Route(0, match, method, pattern, meter="calls")
    return replace(route, **fields)  # type: ignore[arg-type]  # fields by their names


def a_policy(*routes: Route, plan: Plan | None = None, **fields: object) -> Policy:
    """Calls cost 1 nano, images 5, rows 2; the account's plan is `p`."""
    numbered = tuple(replace(route, index=n) for n, route in enumerate(routes or (a_route(),)))
    prices = {"calls": at(1), "images": at(5), "rows": at(2)}
    policy = Policy("v1", METERS, numbered, prices, {"p": plan or Plan("p")})
    return replace(policy, **fields)  # type: ignore[arg-type]  # fields by their names


def a_key(fill: int = 0, environment: Environment = "live") -> str:
    return keys.mint(environment, lambda length: bytes((fill + n) % 248 for n in range(length)))


KEY = a_key()


def key_facts(text: str = KEY, /, **fields: object) -> KeyFacts:
    key = keys.parse(text)
    assert key is not None
    facts = KeyFacts(key.kid, "acct", keys.digest(text, PEPPER), environment=key.environment)
    return facts._replace(**fields)  # type: ignore[arg-type]  # fields by their names


async def soon(answer: T | Awaitable[T]) -> T:
    return await answer if isinstance(answer, Awaitable) else answer


class House:
    def __init__(self, policy: Policy, store: CounterStore) -> None:
        self.clock = FakeClock()
        self.store = store
        self.gate = RequestGate(policy, store, self.clock, {1: PEPPER})
        self.route = policy.routes[0]

    async def tell(self, *changes: Change) -> None:
        assert set(await answered(self.store.sync(changes, self.clock()))) == {DONE}

    async def shown(self, *texts: str) -> Member | Refusal:
        """Who shows these keys; remembered for a moment, as a shell does it."""
        lane = self.gate.members.lanes.setdefault(b"x-api-key", {})
        assert lane is not None
        shown = ",".join(texts).encode()
        known = lane.get(shown)
        if known is not None and known.fresh_until_us > self.clock():
            return known
        asked = self.gate.members.find_key(texts, self.clock())
        found = await asked if isinstance(asked, Awaitable) else asked
        if isinstance(found, Member):
            lane[shown] = found
        return found

    async def member(self, text: str = KEY) -> Member:
        member = await self.shown(text)
        assert isinstance(member, Member)
        return member

    async def admit(
        self, member: Member | None = None, route: Route | None = None, twin: Twin | None = None
    ) -> Admitted:
        route = route or self.route
        member = member or await self.member()
        return await soon(self.gate.admit(member, route, route.pattern, self.gate.request_id(), twin))

    async def call(
        self, member: Member | None = None, route: Route | None = None, twin: Twin | None = None
    ) -> Call:
        """A call that is let in and has reached the app."""
        admitted = await self.admit(member, route, twin)
        assert isinstance(admitted, Call), admitted
        admitted.dispatched()
        return admitted

    async def reason(
        self, member: Member | None = None, route: Route | None = None, twin: Twin | None = None
    ) -> str:
        """Why the next call is refused; empty when it is let in, and then it is settled at once."""
        admitted = await self.admit(member, route, twin)
        assert not isinstance(admitted, Replay)
        if isinstance(admitted, Refusal):
            return admitted.reason
        admitted.settle()
        return ""

    async def budget(self, name: str = "credits:acct") -> int:
        await self.gate.endings.done()
        told = (await answered(self.store.state((AskBudget(name),))))[0]
        assert told is None or isinstance(told, int)
        return told or 0

    async def events(self) -> list[UsageEvent]:
        await self.gate.endings.done()
        entries = await answered(self.store.drain(10_000))
        return [event for entry in entries for event in decode_events(entry.events)]


async def a_house(policy: Policy, *, later: bool = False, balance: int = 100, backlog: int = 10_000) -> House:
    """`later` puts the store behind a turn of the event loop."""
    store = EmbeddedStore(None, backlog=backlog)
    house = House(policy, AwaitingStore(store) if later else store)
    await house.tell(PutAccount(AccountFacts("acct", "p"), balance), PutKey(key_facts()))
    return house
