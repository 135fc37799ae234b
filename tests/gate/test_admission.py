"""Who is let in: keys, entitlements and budgets, as they are at the moment of the call."""

import pytest

from metergate.core.facts import AccountFacts
from metergate.core.policy import Concurrency, Included, Limit, Plan
from metergate.core.refusal import Refusal
from metergate.ports import Adjust, PutAccount, PutBudget, PutKey
from metergate.store.embedded import EmbeddedStore
from metergate.testing.stores import AwaitingStore
from tests.gate.house import KEY, House, a_house, a_key, a_policy, a_route, at, key_facts, soon

SECOND_US = 10**6

pytestmark = pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])


def reason(found: object) -> str:
    return found.reason if isinstance(found, Refusal) else ""


async def test_a_key_is_looked_up_once_a_second(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    member = await house.member()
    assert await house.member() is member
    house.clock.advance(seconds=1)
    assert member.fresh_until_us <= house.clock()
    assert await house.member() is member
    assert member.fresh_until_us > house.clock()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([], "key_missing"),
        ([KEY, KEY], ""),
        ([KEY, a_key(1)], "two_keys"),
        ([a_key(1)], "key_invalid"),
        ([a_key(0, "test")], "key_environment"),
        ([KEY[:-1]], "key_invalid"),
        (["nonsense"], "key_invalid"),
    ],
)
async def test_a_key_must_be_genuine(shown: list[str], expected: str, later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    found = house.gate.members.find_key(shown, house.clock())
    assert reason(await soon(found)) == expected


async def test_the_handle_of_a_key_is_not_its_secret(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    await house.tell(PutKey(key_facts(digest=key_facts(a_key(1)).digest)))
    assert reason(await house.shown(KEY)) == "key_invalid"


async def test_a_key_under_a_pepper_that_is_not_there_is_not_genuine(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    await house.tell(PutKey(key_facts(pepper=2)))
    assert reason(await house.shown(KEY)) == "key_invalid"


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"revoked": True}, "key_revoked"), ({"expires_at_us": 1}, "key_expired")],
)
async def test_a_revoked_key_is_refused_by_the_very_next_call(
    change: dict[str, object], expected: str, later: bool
) -> None:
    """Although the gate remembers the caller and what was prepared for it."""
    house = await a_house(a_policy(), later=later)
    member = await house.member()
    assert [await house.reason(member) for _ in range(3)] == ["", "", ""]
    await house.tell(PutKey(key_facts(**change)))
    assert await house.reason(member) == expected
    assert reason(await house.shown(KEY)) == expected
    assert await house.budget() == 97


async def test_a_key_expires_at_its_instant(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    await house.tell(PutKey(key_facts(expires_at_us=house.clock() + SECOND_US // 2)))
    assert await house.reason() == ""
    house.clock.advance(us=SECOND_US // 2)
    assert reason(await house.shown(KEY)) == "key_expired"


async def test_while_a_key_is_rotated_both_spend_from_one_balance(later: bool) -> None:
    house = await a_house(a_policy(), later=later, balance=3)
    new = a_key(1)
    await house.tell(PutKey(key_facts(new)), PutKey(key_facts(expires_at_us=house.clock() + 10)))
    heard = [await house.reason(await house.member(text)) for text in (KEY, new, KEY, new)]
    assert heard == ["", "", "", "insufficient_credits"]
    house.clock.advance(us=10)
    assert reason(await house.shown(KEY)) == "key_expired"
    assert await house.reason(await house.member(new)) == "insufficient_credits"
    assert {event.terms.account for event in await house.events()} == {"acct"}
    assert len({event.terms.key for event in await house.events()}) == 2


async def test_the_next_call_is_decided_under_the_new_plan(later: bool) -> None:
    policy = a_policy(a_route(feature="chat"), plan=Plan("p"))
    plans = {**policy.plans, "chat": Plan("chat", features=frozenset({"chat"}), prices={"calls": at(10)})}
    house = await a_house(a_policy(a_route(feature="chat"), plans=plans), later=later)
    member = await house.member()
    assert await house.reason(member) == "feature_not_in_plan"
    await house.tell(PutAccount(AccountFacts("acct", "chat")))
    # What was refused was refused from facts that are a second old at most.
    house.clock.advance(seconds=1)
    member = await house.member()
    assert await house.reason(member) == ""
    await house.tell(PutAccount(AccountFacts("acct", "p")))
    assert await house.reason(member) == "feature_not_in_plan"
    assert await house.budget() == 90


async def test_a_suspended_account_is_refused_by_the_very_next_call(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    member = await house.member()
    assert await house.reason(member) == ""
    await house.tell(PutAccount(AccountFacts("acct", "p", suspended=True)))
    assert await house.reason(member) == "account_suspended"


async def test_without_credits_the_caller_is_told_what_is_missing(later: bool) -> None:
    house = await a_house(a_policy(prices={"calls": at(30)}), later=later, balance=40)
    assert await house.reason() == ""
    told = await house.admit()
    assert isinstance(told, Refusal)
    assert told._replace(request_id="") == Refusal("insufficient_credits", "", "account", "calls", 30, 10)
    await house.tell(Adjust("top-up", "acct", 20))
    assert await house.reason() == ""


async def test_a_rate_is_cured_by_time(later: bool) -> None:
    house = await a_house(a_policy(limits=(Limit(1, "second", 2),)), later=later)
    assert [await house.reason() for _ in range(3)] == ["", "", "rate_limited"]
    refused = await house.admit()
    assert isinstance(refused, Refusal)
    house.clock.advance(us=refused.retry_after_us - 1)
    assert await house.reason() == "rate_limited"
    house.clock.advance(us=1)
    assert await house.reason() == ""


async def test_open_calls_are_counted_until_they_end(later: bool) -> None:
    house = await a_house(a_policy(concurrency=(Concurrency(2),)), later=later)
    first, second = await house.call(), await house.call()
    assert await house.reason() == "too_many_open"
    first.settle()
    second.release()
    assert await house.budget("open:account:acct") == 0
    assert await house.reason() == ""


async def test_usage_that_others_counted_is_found_by_the_first_call(later: bool) -> None:
    """The tally of the period stands in the store; a gate that knows nothing of it decides a second time."""
    plan = Plan("p", included={"calls": Included(10, "day")}, on_exceed="overage", overage={"calls": at(7)})
    house = await a_house(a_policy(plan=plan), later=later)
    call = await house.call()
    name = call.prepared.draws[0].name
    call.release()
    fresh = await a_house(a_policy(plan=plan), later=later)
    await fresh.tell(PutBudget(name, 9, fresh.clock() + 10**12))
    admitted = [await fresh.call() for _ in range(3)]
    assert [call.cost for call in admitted] == [0, 7, 7]
    assert await fresh.budget(name) == 12
    assert await fresh.budget() == 86


async def test_beyond_its_allowance_an_account_moves_to_the_next_plan(later: bool) -> None:
    plans = {
        "p": Plan("p", included={"calls": Included(2)}, on_exceed="upgrade"),
        "big": Plan("big", included={"calls": Included(3)}),
    }
    house = await a_house(a_policy(plans=plans), later=later)
    assert [await house.reason() for _ in range(4)] == ["", "", "", "quota_exceeded"]
    told = [(event.terms.plan, event.terms.upgraded_from) for event in await house.events()]
    assert told == [("p", ""), ("p", ""), ("big", "p")]


async def test_a_window_that_ends_begins_anew(later: bool) -> None:
    plan = Plan("p", included={"calls": Included(1, "day")})
    house = await a_house(a_policy(plan=plan), later=later)
    assert [await house.reason() for _ in range(2)] == ["", "quota_exceeded"]
    refused = await house.admit()
    assert isinstance(refused, Refusal)
    house.clock.now_us = refused.resets_at_us - 1
    assert await house.reason() == "quota_exceeded"
    house.clock.now_us = refused.resets_at_us
    assert await house.reason() == ""


async def test_with_too_much_waiting_for_the_ledger_nobody_is_let_in(later: bool) -> None:
    house = await a_house(a_policy(), later=later, backlog=2)
    for _ in range(2):
        (await house.call()).settle()
        await house.gate.endings.done()
    refused = await house.admit()
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.status, refused.retry_after_us) == ("ledger_backlog", 503, 5 * SECOND_US)


async def test_what_the_store_has_forgotten_is_unknown_and_not_allowed(later: bool) -> None:
    member = await (await a_house(a_policy(), later=later)).member()
    empty = EmbeddedStore(None)
    flushed = House(a_policy(), AwaitingStore(empty) if later else empty)
    assert await flushed.reason(member) == "store_unavailable"


async def test_everybody_who_watches_hears_of_every_decision(later: bool) -> None:
    house = await a_house(a_policy(), later=later, balance=1)
    heard = []
    house.gate.watch.watchers.append(lambda decision: heard.append((decision.account, decision.reason)))
    assert [await house.reason() for _ in range(2)] == ["", "insufficient_credits"]
    assert heard == [("acct", ""), ("acct", "insufficient_credits")]
    assert house.gate.watch.refused == {"insufficient_credits": 1}


async def test_calls_have_names_that_never_repeat(later: bool) -> None:
    first, second = await a_house(a_policy(), later=later), await a_house(a_policy(), later=later)
    names = [house.gate.request_id() for house in (first, second) for _ in range(100)]
    assert len(set(names)) == 200
