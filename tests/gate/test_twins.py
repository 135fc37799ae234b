"""Calls and reports with an idempotency key are charged once."""

import pytest

from metergate.core.facts import AccountFacts
from metergate.core.idempotency import KEEP_US, Twin
from metergate.core.policy import Included, Plan
from metergate.core.refusal import Refusal
from metergate.core.report import Report
from metergate.errors import InvalidInput, MetergateError, PaymentRequired, UsageLimitExceeded
from metergate.gate import tracking
from metergate.gate.gate import Replay
from metergate.ports import PutAccount
from metergate.testing.clock import START_US
from tests.gate.house import House, a_house, a_policy

pytestmark = pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])

TWIN = Twin("t", "same", START_US + KEEP_US)
OTHER = Twin("t", "other", START_US + KEEP_US)


async def test_a_twin_waits_for_the_first_call_and_then_hears_its_answer(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    first = await house.call(twin=TWIN)
    running = await house.admit(twin=TWIN)
    assert isinstance(running, Refusal)
    assert (running.reason, running.status, running.retry_after_us) == ("idempotency_running", 409, 10**6)
    first.answer = b"the answer"
    first.settle()
    await house.gate.endings.done()
    assert await house.admit(twin=TWIN) == Replay(b"the answer")
    assert await house.reason(twin=OTHER) == "idempotency_mismatch"
    assert await house.budget() == 99
    event = (await house.events())[0]
    assert (event.twin, event.answer) == (("t", "same", TWIN.until_us), b"the answer")


async def test_an_answer_that_was_not_kept_is_told_as_such(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    (await house.call(twin=TWIN)).settle()
    await house.gate.endings.done()
    assert await house.admit(twin=TWIN) == Replay(None)


async def test_after_a_release_the_twin_is_the_first_call(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    (await house.call(twin=TWIN)).release()
    await house.gate.endings.done()
    assert await house.reason(twin=OTHER) == ""
    assert await house.budget() == 99


async def test_a_twin_that_was_refused_may_come_again(later: bool) -> None:
    house = await a_house(a_policy(), later=later, balance=1)
    assert await house.reason() == ""
    assert await house.reason(twin=TWIN) == "insufficient_credits"
    assert await house.reason(twin=TWIN) == "insufficient_credits"


async def test_with_and_without_a_key_calls_are_prepared_alike(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    assert [await house.reason(), await house.reason(twin=TWIN), await house.reason()] == ["", "", ""]
    assert await house.budget() == 97


def a_report(**fields: object) -> Report:
    return Report("acct", "images", 2)._replace(**fields)  # type: ignore[arg-type]  # fields by their names


async def test_a_report_is_counted_once_and_answered_alike(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    first = await tracking.record(house.gate, a_report(idempotency_key="job-7"))
    again = await tracking.record(house.gate, a_report(idempotency_key="job-7"))
    assert (first.cost, first.balance, first.replayed) == (10, 90, False)
    assert again == first._replace(replayed=True)
    with pytest.raises(MetergateError) as caught:
        await tracking.record(house.gate, a_report(units=3, idempotency_key="job-7"))
    assert caught.value.reason == "idempotency_mismatch"
    assert await house.budget() == 90
    assert [(event.units, event.cost, event.measured) for event in await house.events()] == [
        (2, 10, "reported")
    ]


async def test_reports_without_a_key_are_all_counted(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    for _ in range(3):
        await tracking.record(house.gate, a_report())
    assert await house.budget() == 70


async def test_a_report_may_know_its_cost_its_instant_and_its_service(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    receipt = await tracking.record(house.gate, a_report(cost=33, at_us=START_US - 5, service="search"))
    assert (receipt.cost, receipt.balance) == (33, 67)
    event = (await house.events())[0]
    assert (event.cost, event.at_us, event.terms.service, event.terms.key) == (33, START_US - 5, "search", "")


async def test_a_report_may_come_from_a_key(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    member = await house.member()
    assert member.caller.key is not None
    await tracking.record(house.gate, a_report(kid=member.caller.key.kid))
    assert (await house.events())[0].terms.key == member.caller.key.kid


async def test_a_suspended_account_fails_every_check(later: bool) -> None:
    house = await a_house(a_policy(), later=later)
    await house.tell(PutAccount(AccountFacts("acct", "p", suspended=True)))
    assert (await tracking.check(house.gate, "acct", "calls")).reason == "account_suspended"


async def test_usage_that_has_happened_is_counted_also_where_there_is_nothing_left(later: bool) -> None:
    plan = Plan("p", included={"images": Included(1)})
    house = await a_house(a_policy(plan=plan), later=later, balance=3)
    assert (await tracking.record(house.gate, a_report())).cost == 5
    assert (await tracking.record(house.gate, a_report())).cost == 10
    assert await house.budget() == -12


@pytest.mark.parametrize(
    ("plan", "error"),
    [(Plan("p"), PaymentRequired), (Plan("p", included={"images": Included(1)}), UsageLimitExceeded)],
)
async def test_a_strict_report_is_refused_where_it_does_not_fit(
    plan: Plan, error: type[MetergateError], later: bool
) -> None:
    house = await a_house(a_policy(plan=plan), later=later, balance=3)
    with pytest.raises(error):
        await tracking.record(house.gate, a_report(strict=True))
    assert await house.budget() == 3
    assert await house.events() == []


async def test_a_report_for_nobody_is_refused(later: bool) -> None:
    house: House = await a_house(a_policy(), later=later)
    with pytest.raises(InvalidInput, match="There is no account 'nobody'"):
        await tracking.record(house.gate, a_report(account="nobody"))


async def test_checking_changes_nothing_and_says_what_a_call_would_hear(later: bool) -> None:
    plan = Plan("p", features=frozenset({"chat"}), included={"rows": Included(0)})
    house = await a_house(a_policy(plan=plan), later=later, balance=4)
    found = {
        what: await tracking.check(house.gate, "acct", what)
        for what in ("chat", "web", "calls", "images", "rows")
    }
    assert {what: verdict.reason for what, verdict in found.items()} == {
        "chat": "",
        "web": "feature_not_in_plan",
        "calls": "",
        "images": "insufficient_credits",
        "rows": "quota_exceeded",
    }
    assert [bool(verdict) for verdict in found.values()] == [True, False, True, False, False]
    assert {(verdict.account, verdict.plan, verdict.balance) for verdict in found.values()} == {
        ("acct", "p", 4)
    }
    assert await house.budget() == 4
