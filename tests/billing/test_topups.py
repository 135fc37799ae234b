"""Top-ups by themselves: once per need, whoever looks, whatever dies, and never more than was agreed."""

import asyncio
import contextlib
import itertools
from pathlib import Path

import pytest

from metergate.api import metrics
from metergate.errors import InvalidInput
from tests.api.test_metrics import read
from tests.billing.bench import Bench, opened
from tests.billing.selfpaying import DAY_US, HOUR_US, MINUTE_US, Dying, Killed, SelfPaying

WISH = {"threshold": "5.00", "amount": "20.00"}


async def test_who_falls_below_the_threshold_pays_once_and_again_when_it_is_needed(any_bench: Bench) -> None:
    paying = SelfPaying(any_bench)
    await paying.sign_up(**WISH)
    await paying.rounds()
    assert paying.charged == []
    await paying.spend("5.01")
    await paying.rounds()
    assert (paying.charged, await paying.balance()) == ([2000], "24.99")
    await paying.spend("24.00")
    await paying.rounds()
    assert paying.charged == [2000]  # a minute is between two
    paying.clock.advance(us=MINUTE_US)
    await paying.rounds()
    assert (paying.charged, await paying.balance()) == ([2000, 2000], "20.99")
    assert [each["payment"] for each in await paying.told("topup.started")] == [
        each.id for each in reversed(await paying.paid())
    ]
    assert await any_bench.differences() == []


async def test_of_many_workers_one_charges(any_bench: Bench) -> None:
    paying = SelfPaying(any_bench)
    await paying.sign_up(**WISH)
    workers = [paying.worker(any_bench.ledger)[1] for _ in range(5)]
    for spent in ("6.00", "20.00", "20.00"):
        await paying.spend(spent)
        await asyncio.gather(*(each.run_once() for each in workers for _ in range(4)))
        paying.clock.advance(us=2 * MINUTE_US)
    assert paying.charged == [2000, 2000, 2000]
    assert len(await paying.paid()) == 3
    assert await any_bench.differences() == []


async def steps_of_a_top_up(folder: Path) -> int:
    async with opened(f"sqlite:///{folder / 'counted.sqlite'}") as bench:
        paying = SelfPaying(bench)
        await paying.sign_up(**WISH)
        await paying.spend("6.00")
        watched = Dying(bench.ledger.ledger, 10**6, after=True)
        await paying.worker(watched)[1].run_once()
        watched.bury()
        assert paying.charged == [2000]
        return watched.steps


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_who_is_killed_at_any_step_has_charged_once_in_the_end(tmp_path: Path, after: bool) -> None:
    steps = await steps_of_a_top_up(tmp_path)
    assert steps > 10
    for step in range(1, steps + 1):
        async with opened(f"sqlite:///{tmp_path / f'{step}.sqlite'}") as bench:
            paying = SelfPaying(bench)
            await paying.sign_up(**WISH)
            await paying.spend("6.00")
            dying = Dying(bench.ledger.ledger, step, after=after)
            with contextlib.suppress(Killed):
                await paying.worker(dying)[1].run_once()
            dying.bury()
            await paying.pass_time(HOUR_US)
            assert paying.charged == [2000], step
            # The store of the dead process was its own: what it had not told is read at the next start.
            assert [each.state for each in await bench.payments()] == ["succeeded"], step
            assert (await paying.state())["in_flight"] is None
            found = [each for each in await bench.differences() if "counters" not in each]
            assert found == [], step


@pytest.mark.parametrize("fault", ["lost", "broken", "busy"])
async def test_a_provider_that_fails_is_asked_for_the_same_payment_again(bench: Bench, fault: str) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up(**WISH)
    await paying.spend("6.00")
    bench.server.fault({"kind": "well", "times": 2})
    bench.server.fault({"kind": fault, "times": 4})
    await paying.pass_time(2 * HOUR_US)
    assert paying.charged == [2000]
    assert len(await bench.payments()) == 1
    assert await paying.balance() == "24.00"


async def test_a_provider_that_asks_to_be_left_alone_hears_of_no_other_account(bench: Bench) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up(**WISH)
    await paying.spend("6.00")
    bench.server.fault({"kind": "busy", "after_s": 1800})
    await paying.rounds()
    await bench.office.accounts.create("bob")
    await paying.office.credits.grant("bob", "1.00", id="bobs")
    await paying.office.top_ups.set("bob", **WISH)
    bench.server.asked.clear()
    for _ in range(5):
        paying.clock.advance(us=5 * MINUTE_US)
        await paying.rounds(1)
    assert list(bench.server.asked) == []
    await paying.pass_time(HOUR_US)
    assert paying.charged == [2000]


async def test_a_gap_is_closed_by_one_payment_and_by_ten_amounts_at_most(bench: Bench) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up(**WISH)
    await paying.spend("70.00")  # more than there was: the rest is owed
    await paying.rounds()
    assert (paying.charged, await paying.balance()) == ([8000], "20.00")
    await paying.spend("1000.00")
    paying.clock.advance(us=MINUTE_US)
    await paying.rounds()
    assert paying.charged == [8000, 20000]


async def test_the_monthly_cap_is_never_exceeded_and_begins_anew_with_the_month(bench: Bench) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up(**WISH, monthly_cap="50.00")
    for _ in range(6):
        await paying.spend("19.00")
        await paying.pass_time(HOUR_US)
    assert paying.charged == [2000, 2000]
    shown = await paying.state()
    assert (shown["state"], shown["spent_this_month"]["amount"]) == ("on", "40.00")
    assert "monthly cap" in shown["reason"]
    (told,) = await paying.told("topup.failed")
    assert (told["stopped"], "monthly cap" in told["reason"]) == (False, True)
    await paying.pass_time(31 * DAY_US, step_us=6 * HOUR_US)
    assert sum(paying.charged) == 4000 + 4000  # owed since then: two amounts, and no more in this month
    assert (await paying.state())["spent_this_month"]["amount"] == "40.00"


async def test_after_declines_it_waits_longer_each_time_then_stops_and_says_so(bench: Bench) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up(token="tok_declined", **WISH)
    await paying.spend("6.00")
    seen = []
    for _ in range(12 * 12):
        before = len(await bench.payments())
        await paying.pass_time(5 * MINUTE_US)
        if len(await bench.payments()) > before:
            seen.append(paying.clock())
    assert [later - earlier for earlier, later in itertools.pairwise(seen)] == [HOUR_US, 4 * HOUR_US]
    shown = await paying.state()
    assert (shown["state"], shown["declines"], shown["reason"]) == ("stopped", 3, "Your card was declined.")
    told = await paying.told("topup.failed")
    assert [(each["declines"], each["stopped"]) for each in told] == [(1, False), (2, False), (3, True)]
    assert shown["spent_this_month"]["nanos"] == 0
    good = await paying.office.payments.attach("acct", "tok_visa")
    await paying.office.top_ups.set("acct", **WISH, method=good["id"])
    await paying.rounds()
    assert (paying.charged, (await paying.state())["state"]) == ([2000], "on")


async def test_where_the_payer_has_to_act_it_stops_says_where_and_goes_on_when_that_is_done(
    bench: Bench,
) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up(token="tok_authenticate", **WISH)
    await paying.spend("6.00")
    await paying.pass_time(3 * HOUR_US)
    shown = await paying.state()
    assert (shown["state"], len(await bench.payments())) == ("stopped", 1)
    (told,) = await paying.told("topup.failed")
    assert told["stopped"] and told["url"].startswith("http")
    await bench.pay((await bench.payments())[0])
    await paying.pass_time(HOUR_US)
    assert (paying.charged, await paying.balance()) == ([2000], "24.00")
    assert (await paying.state())["state"] == "on"


async def test_what_cannot_be_charged_stops_with_what_helps(bench: Bench) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up(token="", **WISH)
    await paying.spend("6.00")
    await paying.rounds()
    assert (await paying.state())["reason"] == "There is no payment method to charge: add one."
    method = await paying.office.payments.attach("acct", "tok_visa")
    await paying.office.top_ups.set("acct", **WISH, method=method["id"])
    await paying.office.payments.detach("acct", method["id"])
    paying.clock.advance(us=MINUTE_US)
    await paying.rounds()
    shown = await paying.state()
    assert (shown["state"], "not there any more" in shown["reason"]) == ("stopped", True)
    assert paying.charged == []
    assert [each["stopped"] for each in await paying.told("topup.failed")] == [True, True]


async def test_a_pack_is_bought_for_its_price(bench: Bench) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up("1.00", threshold="2.00", pack="small")
    await paying.rounds()
    assert (paying.charged, await paying.balance()) == ([500], "7.00")


async def test_off_and_suspended_accounts_are_not_charged(bench: Bench) -> None:
    paying = SelfPaying(bench)
    await paying.sign_up(**WISH)
    await paying.spend("6.00")
    await paying.office.top_ups.off("acct")
    await paying.rounds()
    await paying.office.top_ups.set("acct", **WISH)
    await paying.office.accounts.suspend("acct")
    await paying.rounds()
    assert paying.charged == []
    await paying.office.accounts.resume("acct")
    await paying.rounds()
    assert paying.charged == [2000]


async def test_the_policy_says_what_was_not_said_and_an_account_keeps_it(bench: Bench) -> None:
    wish = {"threshold": "3.00", "amount": "30.00", "monthly_cap": "90.00"}
    paying = SelfPaying(bench, top_ups=wish)
    await paying.sign_up(threshold="4.00")
    shown = await paying.state()
    assert shown["threshold"]["amount"] == "4.00"
    assert (shown["amount"]["amount"], shown["monthly_cap"]["amount"]) == ("30.00", "90.00")
    assert [each["account"] for each in (await paying.office.top_ups.page("on"))["data"]] == ["acct"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "threshold above zero"),
        ({"threshold": "5.00"}, "an amount or a pack"),
        ({"threshold": "5.00", "amount": "1.00", "pack": "small"}, "not both"),
        ({"threshold": "5.00", "amount": "0.001"}, "steps of 0.01"),
        ({"threshold": "5.00", "pack": "none"}, "no pack"),
        ({"threshold": "5.00", "amount": "20.00", "monthly_cap": "10.00"}, "at least one top-up"),
        ({"threshold": "-5.00", "amount": "20.00"}, "threshold"),
        ({"threshold": "5.00", "amount": "20.00", "method": "pm_none"}, "no payment method"),
    ],
)
async def test_wishes_that_cannot_be_are_refused(
    bench: Bench, settings: dict[str, str], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        await SelfPaying(bench).office.top_ups.set("acct", **settings)


async def test_top_ups_are_counted_by_what_became_of_them(bench: Bench) -> None:
    """Each once, whoever looks how often."""
    paying = SelfPaying(bench)
    await paying.sign_up(**WISH)
    await paying.rounds()
    assert paying.top_ups.numbers() == {"topups_moved": [["begun", 0], ["succeeded", 0], ["failed", 0]]}
    await paying.spend("6.00")
    await paying.rounds()
    await paying.rounds()
    assert paying.top_ups.numbers() == {"topups_moved": [["begun", 1], ["succeeded", 1], ["failed", 0]]}
    declining = SelfPaying(bench)
    await declining.office.accounts.create("poor")
    await declining.office.payments.attach("poor", "tok_declined")
    await declining.office.top_ups.set("poor", **WISH)
    await declining.rounds()
    numbers = declining.top_ups.numbers()
    assert numbers == {"topups_moved": [["begun", 1], ["succeeded", 0], ["failed", 1]]}
    found = read(metrics.text({"policy": "", "open_holds": 0, "backlog": 0, **numbers}))
    assert found["topups_total", (("outcome", "failed"),)] == 1
