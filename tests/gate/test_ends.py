"""How calls end: settled or released, once, and what the event says of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from metergate.core.facts import AccountFacts
from metergate.core.hold import UsageEvent
from metergate.core.idempotency import Twin
from metergate.core.policy import Included, Plan
from metergate.core.price import PerUnit, PriceRule, Rate
from metergate.core.refusal import Refusal
from metergate.errors import StoreUnavailable
from metergate.gate.call import Call, Visit
from metergate.gate.gate import Admitted
from metergate.ports import Expired, Held, Hold, PutAccount, PutKey, Settle
from metergate.store.embedded import EmbeddedStore
from metergate.testing.conformance import answered
from metergate.testing.stores import AwaitingStore
from tests.gate.house import KEY, House, a_house, a_key, a_policy, a_route, at, key_facts, soon

ROWS = a_route(meter="rows", hold_units=3)

both = pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])


async def ended(house: House) -> tuple[UsageEvent, int]:
    """The one event there is, and the balance."""
    events = await house.events()
    assert len(events) == 1
    return events[0], await house.budget()


@both
async def test_an_event_says_everything_about_its_call(later: bool) -> None:
    house = await a_house(
        a_policy(a_route("GET /x", dimensions=(("model", "m"),)), service="api"), later=later
    )
    call = await house.call()
    assert call.cost == 1
    house.clock.advance(seconds=2)
    call.settle()
    event, balance = await ended(house)
    assert balance == 99
    assert (event.op, event.request_id, event.at_us) == (call.op, call.request_id, house.clock())
    assert (event.path, event.units, event.cost, event.measured) == ("/x", 1, 1, "measured")
    assert (event.dimensions, event.amounts) == ((("model", "m"),), (1,))
    terms = event.terms
    assert (terms.account, terms.plan, terms.policy, terms.route) == ("acct", "p", "v1", "GET /x")
    assert (terms.meter, terms.service, terms.currency) == ("calls", "api", "USD")
    assert terms.draws == call.prepared.draws


@both
@pytest.mark.parametrize(
    ("units", "cost", "left"),
    [(None, 6, 94), (3, 6, 94), (0, 0, 100), (1, 2, 98), (40, 80, 20), (90, 180, -80)],
)
async def test_a_measured_call_costs_what_it_used(
    units: int | None, cost: int, left: int, later: bool
) -> None:
    """Below its hold, at it or above it; what was not there is debt, and the next call is refused."""
    house = await a_house(a_policy(ROWS), later=later)
    (await house.call()).settle(units)
    event, balance = await ended(house)
    assert (event.cost, balance) == (cost, left)
    assert event.units == (3 if units is None else units)
    assert await house.reason() == ("insufficient_credits" if left < 6 else "")


@both
async def test_a_count_beyond_all_money_is_nonsense_and_costs_the_hold(later: bool) -> None:
    dear = (PriceRule((), PerUnit(Rate(10**13, 1))),)
    house = await a_house(a_policy(ROWS, prices={"rows": dear}), later=later, balance=10**16)
    (await house.call()).settle(10**12)
    event, _ = await ended(house)
    assert (event.units, event.cost) == (3, 3 * 10**13)


@both
async def test_a_call_ends_once(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    settled, released = await house.call(), await house.call()
    settled.settle()
    settled.settle(5)
    settled.release()
    settled.settle_cost(5, 5, "late")
    released.release()
    released.settle()
    assert [event.op for event in await house.events()] == [settled.op]
    assert await house.budget() == 99
    assert house.gate.live == {}


@both
async def test_a_released_call_leaves_nothing(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    (await house.call()).release()
    assert await house.events() == []
    assert await house.budget() == 100


@both
async def test_a_cost_that_is_known_is_taken_as_it_is(later: bool) -> None:
    house = await a_house(a_policy(ROWS), later=later)
    (await house.call()).settle_cost(7, 33, "told")
    event, balance = await ended(house)
    assert (event.units, event.cost, event.measured, balance) == (7, 33, "told", 67)


@both
@pytest.mark.parametrize(
    ("policy", "expected"),
    [("hold", (3, 6)), ("minimum", (0, 4)), ("release", None)],
)
async def test_what_nobody_could_measure_costs_what_the_policy_says(
    policy: str, expected: tuple[int, int] | None, later: bool
) -> None:
    least = (PriceRule((), PerUnit(Rate(2, 1)), minimum_nanos=4),)
    house = await a_house(a_policy(ROWS, prices={"rows": least}), later=later)
    (await house.call()).end_unmeasured(policy, "missing")
    found = [(event.units, event.cost) for event in await house.events()]
    assert found == ([expected] if expected else [])


@both
async def test_calls_that_end_together_reach_the_store_together(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    calls = [await house.call() for _ in range(5)]
    for call in calls:
        call.settle()
    await house.gate.endings.done()
    entries = await answered(house.store.drain(10))
    assert len(entries) == 1
    assert [event.op for event in await house.events()] == [call.op for call in calls]


async def turns(count: int) -> None:
    """Let everybody else have so many turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


class Unreachable(EmbeddedStore):
    """A store that answers at once, also that it cannot be reached."""

    away = False

    def hold(self, batch: Sequence[Hold], now_us: int) -> Sequence[Held]:
        self._reach()
        return super().hold(batch, now_us)

    def settle(self, batch: Sequence[Settle], now_us: int) -> Sequence[str]:
        self._reach()
        return super().settle(batch, now_us)

    def release(self, ops: Sequence[str], now_us: int) -> Sequence[str]:
        self._reach()
        return super().release(ops, now_us)

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("Away.")


async def a_shaky_house(*, later: bool) -> tuple[House, Unreachable | AwaitingStore]:
    house = await a_house(a_policy(), later=later)
    if isinstance(house.store, AwaitingStore):
        return house, house.store
    store = Unreachable(None)
    house = House(a_policy(), store)
    await house.tell(PutAccount(AccountFacts("acct", "p"), 100), PutKey(key_facts()))
    return house, store


@both
async def test_an_end_that_the_store_did_not_hear_is_told_again(
    monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    monkeypatch.setattr("metergate.gate.endings.AGAIN_S", 0)
    house, store = await a_shaky_house(later=later)
    call = await house.call()
    store.away = True
    call.settle()
    await turns(10)
    store.away = False
    await turns(10)
    assert [event.op for event in await house.events()] == [call.op]
    assert await house.budget() == 99


@both
async def test_when_the_store_is_away_nobody_is_let_in_and_nothing_is_free(later: bool) -> None:
    house, store = await a_shaky_house(later=later)
    member = await house.member()
    assert await house.reason(member) == ""
    store.away = True
    for twin in (None, Twin("t", "same", house.clock() + 1)):
        refused = await house.admit(member, twin=twin)
        assert isinstance(refused, Refusal)
        assert (refused.reason, refused.status, refused.retry_after_us) == ("store_unavailable", 503, 10**6)
    store.away = False
    assert await house.reason(member) == ""
    assert await house.budget() == 98


@both
async def test_a_release_that_the_store_did_not_hear_is_told_again(
    monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    """The reaper would charge it as a call whose end nobody saw."""
    monkeypatch.setattr("metergate.gate.endings.AGAIN_S", 0)
    house, store = await a_shaky_house(later=later)
    call = await house.call()
    store.away = True
    call.release()
    await turns(10)
    store.away = False
    await turns(10)
    assert await house.budget() == 100


async def test_a_hold_whose_answer_was_lost_is_given_back() -> None:
    """It may have been granted, and the call that it was for has been refused."""
    house, store = await a_shaky_house(later=True)
    assert isinstance(store, AwaitingStore)
    member = await house.member()
    store.deaf = True
    refused = await house.admit(member)
    assert isinstance(refused, Refusal) and refused.reason == "store_unavailable"
    store.deaf = False
    await house.gate.endings.done()
    assert await house.budget() == 100
    asking = asyncio.ensure_future(house.admit(member))
    await turns(2)
    asking.cancel()
    await asyncio.wait([asking])
    await house.gate.endings.done()
    assert await house.budget() == 100
    assert await answered(house.store.expire(house.clock() + 10**12, 9)) == []


async def test_a_proven_key_opens_what_is_free_while_the_store_is_away() -> None:
    """For a while; one that nobody has proven here does not. What costs something is refused as ever."""
    house, store = await a_shaky_house(later=True)
    member = await house.member()
    store.away = True
    house.clock.advance(seconds=60)
    assert await house.member() is member
    refused = await house.admit(member)
    assert isinstance(refused, Refusal) and refused.reason == "store_unavailable"
    for _ in range(2):
        unknown = await house.shown(a_key(7))
        assert isinstance(unknown, Refusal) and unknown.reason == "store_unavailable"
        house.clock.advance(seconds=3600)
    forgotten = await house.shown(KEY)
    assert isinstance(forgotten, Refusal) and forgotten.reason == "store_unavailable"


@both
async def test_the_reaper_hears_which_calls_had_reached_the_app(later: bool) -> None:
    house = await a_house(a_policy(a_route(hold_for_us=1000)), later=later)
    dispatched = await house.call()
    waiting = await house.admit()
    assert isinstance(waiting, Call)
    assert set(house.gate.live) == {dispatched.op, waiting.op}
    house.clock.advance(us=1000)
    terms = dispatched.prepared.terms
    assert sorted(await answered(house.store.expire(house.clock(), 9))) == [
        Expired(dispatched.op, dispatched.request_id, True, terms),
        Expired(waiting.op, waiting.request_id, False, terms),
    ]


async def charge(call: Call | Visit, meter: str, units: int) -> Admitted:
    return await soon(call.gate.charge(call, meter, units))


@both
async def test_what_the_app_charges_inside_a_call_ends_with_it(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    kept, dropped = await house.call(), await house.call()
    for call in (kept, dropped):
        charged = await charge(call, "images", 3)
        assert isinstance(charged, Call)
        assert charged.cost == 15
    assert await house.budget() == 100 - 2 - 30
    kept.settle()
    dropped.release()
    events = await house.events()
    assert [(event.terms.meter, event.units, event.cost) for event in events] == [
        ("calls", 1, 1),
        ("images", 3, 15),
    ]
    assert {event.request_id for event in events} == {kept.request_id}
    assert len({event.op for event in events}) == 2
    assert await house.budget() == 84


@both
async def test_a_charge_that_does_not_fit_is_refused_and_its_call_goes_on(later: bool) -> None:
    house = await a_house(a_policy(), later=later, balance=10)
    call = await house.call()
    refused = await charge(call, "images", 2)
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.required, refused.available) == ("insufficient_credits", 10, 9)
    assert isinstance(await charge(call, "tokens", 1), Refusal)
    call.settle()
    assert await house.budget() == 9


@both
async def test_the_same_meter_may_be_charged_many_times(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    call = await house.call()
    for units in (1, 2, 1):
        assert isinstance(await charge(call, "images", units), Call)
    call.settle()
    assert [event.units for event in await house.events()] == [1, 1, 2, 1]
    assert await house.budget() == 100 - 1 - 20


@both
@pytest.mark.parametrize("on_exceed", ["block", "overage"])
async def test_what_a_measured_call_used_is_tallied_for_the_next(on_exceed: str, later: bool) -> None:
    """It began within the allowance; what it used beyond it costs the price there is."""
    plan = Plan("p", included={"rows": Included(10)}, overage={"rows": at(7)})
    plan = replace(plan, on_exceed=on_exceed)  # type: ignore[arg-type]  # a parameter of this test
    house = await a_house(a_policy(a_route(meter="rows"), plan=plan), later=later)
    call = await house.call()
    assert call.cost == 0
    call.settle(11)
    assert await house.budget(call.prepared.draws[0].name) == 11
    assert await house.budget() == 93
    assert await house.reason() == ("quota_exceeded" if on_exceed == "block" else "")


@both
async def test_what_the_app_charges_inside_a_free_request_ends_with_it(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    member = await house.member()
    visits = [Visit(house.gate, member, house.route, "/free", house.gate.request_id()) for _ in range(2)]
    for visit in visits:
        assert isinstance(await charge(visit, "images", 1), Call)
    visits[0].settle()
    visits[1].release()
    event, balance = await ended(house)
    assert (event.request_id, event.path, event.cost, balance) == (visits[0].request_id, "/free", 5, 95)


@pytest.mark.parametrize(("shadow", "expected"), [(False, "feature_not_in_plan"), (True, "")])
async def test_a_route_that_costs_nothing_asks_for_the_entitlement_alone(shadow: bool, expected: str) -> None:
    house = await a_house(a_policy(a_route(feature="chat", free=True), shadow=shadow), balance=0)
    member = await house.member()
    refusal = house.gate.entitled(member, house.route, "/", "req")
    assert (refusal.reason if refusal else "") == expected
    counted = house.gate.watch.shadowed if shadow else house.gate.watch.refused
    assert counted == {"feature_not_in_plan": 1}
    assert house.gate.entitled(member, a_route(free=True), "/", "req") is None
