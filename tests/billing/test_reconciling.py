"""Ledger = intents = provider: differences are told as sentences, and put right once on request."""

import asyncio
from collections.abc import Callable

import pytest

from metergate.billing.windows import MINUTE_US
from metergate.ledger.database import Tx
from metergate.provider_port import UsageTotal
from tests.billing.usage_bench import CUSTOMER, HOUR_US, ZERO_US, Pushing, Use


async def told(pushing: Pushing, *used: Use) -> None:
    await pushing.use(*(used or (Use(5, ZERO_US), Use(7, ZERO_US + HOUR_US))))
    await pushing.later(2 * HOUR_US)
    await pushing.agrees()


def lose(pushing: Pushing, units: int) -> None:
    usage = pushing.bench.sandbox.usage
    usage.counted = [each for each in usage.counted if each.total.units != units]


def smuggle(pushing: Pushing, units: int, at_us: int) -> None:
    """Somebody else tells the provider of usage."""
    total = UsageTotal(f"theirs-{units}-{at_us}", CUSTOMER, "tokens", units, at_us)
    assert pushing.bench.sandbox.push(total, "") == ""


async def test_what_the_provider_lost_is_told_once_more(any_pushing: Pushing) -> None:
    pushing = any_pushing
    await told(pushing)
    lose(pushing, 7)
    [found] = (await pushing.reconcile()).differences
    assert found.sentence == (
        "sandbox counts 0 of tokens of acct (cus_acct) "
        "from 2026-01-01T01:00:00Z to 2026-01-01T02:00:00Z, "
        "and was told 7."
    )
    assert (found.expected, found.found, pushing.counts()) == (7, 0, 5)
    repaired = await pushing.reconcile(repair=True)
    assert (repaired.differences, repaired.repaired, pushing.counts()) == ([], 1, 12)
    assert (await pushing.reconcile(repair=True)).repaired == 0
    await pushing.use(Use(1, ZERO_US + HOUR_US))
    await pushing.later(MINUTE_US)
    assert pushing.counts() == 13
    await pushing.agrees()


async def test_what_the_provider_counts_too_often_is_taken_back(pushing: Pushing) -> None:
    await told(pushing)
    smuggle(pushing, 100, ZERO_US + 1)
    assert (await pushing.reconcile(repair=True)).repaired == 1
    assert pushing.counts(ZERO_US, ZERO_US + HOUR_US) == 5
    await pushing.agrees()


async def test_what_is_outside_of_all_windows_is_told_and_left_alone(pushing: Pushing) -> None:
    await told(pushing)
    smuggle(pushing, 100, ZERO_US + 20 * HOUR_US - 18 * HOUR_US + 1)
    repaired = await pushing.reconcile(repair=True)
    assert [each.found for each in repaired.differences] == [100]
    assert "outside of all windows" in repaired.differences[0].sentence
    assert repaired.repaired == 0


async def test_two_who_repair_at_once_repair_once(any_pushing: Pushing) -> None:
    pushing = any_pushing
    await told(pushing)
    lose(pushing, 5)
    other = Pushing(pushing.bench)
    await asyncio.gather(pushing.reconcile(repair=True), other.reconcile(repair=True))
    assert pushing.counts() == 12
    await pushing.agrees()


async def test_a_summary_that_comes_late_is_not_repaired_twice(pushing: Pushing) -> None:
    """The provider shows what it took only after a while: a repair waits for that."""
    await told(pushing)
    lose(pushing, 5)
    pushing.counted_by = pushing.through(lags_us=10 * MINUTE_US)
    assert (await pushing.reconcile(repair=True)).repaired == 0
    [found] = (await pushing.reconcile()).differences
    assert "ask again later" in found.advice
    pushing.clock.advance(us=10 * MINUTE_US)
    assert (await pushing.reconcile(repair=True)).repaired == 1
    lose(pushing, 5)  # it is not shown yet
    assert (await pushing.reconcile(repair=True)).repaired == 0


@pytest.mark.parametrize("fault", ["lost", "broken"])
async def test_a_repair_without_an_answer_is_settled_by_the_summary(pushing: Pushing, fault: str) -> None:
    """A day later the provider remembers no identifier, and what it counts says whether it has the repair."""
    await told(pushing)
    lose(pushing, 7)
    pushing.bench.server.fault({"kind": "well", "times": 4})
    pushing.bench.server.fault({"kind": fault, "times": 1})
    [found] = (await pushing.reconcile(repair=True)).differences
    assert "is not there yet" in found.sentence
    assert pushing.counts() == (12 if fault == "lost" else 5)
    pushing.clock.advance(us=25 * HOUR_US)
    await pushing.until_done()
    assert pushing.counts() == 12
    await pushing.agrees()


async def test_what_was_parked_is_sent_when_the_cause_is_gone(pushing: Pushing) -> None:
    del pushing.bench.sandbox.customers[CUSTOMER]
    await pushing.use(Use(5, ZERO_US), Use(7, ZERO_US + HOUR_US))
    await pushing.later(2 * HOUR_US)
    found = [each.sentence for each in (await pushing.reconcile()).differences]
    first = "from 2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z"
    second = "from 2026-01-01T01:00:00Z to 2026-01-01T02:00:00Z"
    assert found == [
        f"sandbox: 5 of tokens of acct {first} is parked: There is no customer cus_acct.",
        f"sandbox: 7 of tokens of acct {second} is not there yet.",
    ]
    await pushing.meet(customer="cus_new")
    assert (await pushing.reconcile(repair=True)).differences == []
    await pushing.use(Use(1, ZERO_US))
    await pushing.later(MINUTE_US)
    assert pushing.counts(customer="cus_new") == 13
    assert pushing.pusher.numbers()["push_parked"] == 0


async def test_what_the_provider_throws_away_later_is_parked_and_sent_anew(pushing: Pushing) -> None:
    await told(pushing)
    [first, *_] = await pushing.intents()
    pushing.bench.sandbox.drop_usage(first.identifier, "The meter was archived.")
    pushing.bench.inbox.complain = pushing.pusher.complain
    for _ in range(2):
        await pushing.bench.deliver(pushing.bench.deliveries())
        await pushing.bench.handle()
    states = [(each.units, each.state, each.detail) for each in await pushing.intents()]
    assert states[0] == (5, "dropped", "The meter was archived.")
    assert states[2:] == [(5, "parked", "The meter was archived.")]
    assert await pushing.bench.differences() == []
    assert (await pushing.reconcile(repair=True)).differences == []
    assert pushing.counts() == 12
    await pushing.agrees()


async def test_a_ledger_that_forgot_a_window_is_found_and_mended(any_pushing: Pushing) -> None:
    pushing = any_pushing
    await told(pushing)
    await pushing.use(Use(3, ZERO_US + 2 * HOUR_US))
    await pushing.later(HOUR_US)
    forget = "DELETE FROM push_{} WHERE start_us = " + str(ZERO_US + 2 * HOUR_US)
    for table in ("intents", "windows"):
        await pushing.bench.ledger.write(lambda tx: tx.sql(forget.format(table)))  # noqa: B023 - done at once
    sentences = [each.sentence for each in (await pushing.reconcile()).differences]
    assert sentences[0] == (
        "acct used 3 of tokens from 2026-01-01T02:00:00Z to 2026-01-01T03:00:00Z, and no intent says so."
    )
    assert (await pushing.reconcile(repair=True)).differences == []
    assert pushing.counts() == 15, "it goes under the identifier that it had: nobody is billed twice"


LIES: dict[str, tuple[Callable[[Tx], object], str]] = {
    "a window that comes to more": (
        lambda tx: tx.sql("UPDATE push_windows SET units = units + 1 WHERE units = 5"),
        "Account acct used 5 of tokens in a window from {zero} on, and intents were made for 6.",
    ),
    "an intent of other units": (
        lambda tx: tx.sql("UPDATE push_intents SET units = 6 WHERE units = 5"),
        "The window of acct and tokens from {zero} on is kept as 5, and its intents come to 6.",
    ),
    "an intent without a window": (
        lambda tx: tx.sql("UPDATE push_intents SET start_us = start_us + 1 WHERE units = 5"),
        "The intent {name} belongs to no window.",
    ),
    "usage in two windows": (
        lambda tx: tx.sql("UPDATE push_windows SET end_us = end_us + 1 WHERE units = 5"),
        "Two windows of acct and tokens overlap at {one}.",
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_the_proof_finds_what_was_changed_behind_our_back(any_pushing: Pushing, lie: str) -> None:
    await told(any_pushing)
    [first, *_] = await any_pushing.intents()
    change, says = LIES[lie]
    await any_pushing.bench.ledger.write(change)
    sentence = says.format(zero=ZERO_US, one=ZERO_US + HOUR_US, name=first.identifier)
    assert sentence in await any_pushing.bench.differences()
