"""What the provider counts is what the ledger has: after time-outs, 429, 500, and a day without it."""

from collections.abc import Sequence

import pytest

from metergate.billing import Opened, Providers, Rule
from metergate.billing.windows import DAY_US
from metergate.ledger import push_windows, pushes
from metergate.ledger.database import Tx
from metergate.provider_port import UsageTotal
from tests.billing.push_crashes import Countdown, MortalSink
from tests.billing.usage_bench import HOUR_US, ZERO_US, Pushing, Use


@pytest.mark.parametrize("fault", ["lost", "broken", "busy"])
async def test_what_the_provider_did_not_answer_is_told_once(any_pushing: Pushing, fault: str) -> None:
    pushing = any_pushing
    await pushing.use(Use(5, ZERO_US), Use(2, ZERO_US, "calls"), Use(7, ZERO_US + HOUR_US))
    pushing.bench.server.fault({"kind": fault, "times": 5})
    await pushing.later(2 * HOUR_US)
    assert pushing.pusher.numbers()["push_backlog"] == 3
    assert {each.state for each in await pushing.intents()} == {"sent", "pending"}
    await pushing.until_done()
    assert (pushing.counts(), pushing.counts(meter="calls")) == (12, 2)
    await pushing.agrees()


async def test_a_day_without_the_provider_is_told_afterwards(any_pushing: Pushing) -> None:
    """What was sent and never answered is not sent again after the provider has forgotten it."""
    pushing = any_pushing
    await pushing.use(Use(3, ZERO_US), Use(4, ZERO_US, "calls"))
    pushing.bench.server.fault({"kind": "lost", "times": 1})
    await pushing.later(HOUR_US)
    for hour in range(1, 26):
        pushing.bench.server.fault({"kind": "broken", "times": 50})
        await pushing.use(Use(10, ZERO_US + hour * HOUR_US), Use(1, ZERO_US + hour * HOUR_US, "calls"))
        await pushing.later(HOUR_US)
        pushing.bench.server.well()
    assert pushing.counts() == 3
    await pushing.until_done()
    assert (pushing.counts(), pushing.counts(meter="calls")) == (253, 29)
    await pushing.agrees()


async def test_a_day_in_which_nothing_arrived_is_told_afterwards(pushing: Pushing) -> None:
    """Nothing was there when the provider is asked, so it is sent anew."""
    await pushing.use(Use(3, ZERO_US))
    pushing.bench.server.fault({"kind": "broken", "times": 500})
    for _ in range(26):
        await pushing.later(HOUR_US)
    pushing.bench.server.well()
    await pushing.until_done()
    assert pushing.counts() == 3
    assert "usage/summary" in pushing.bench.server.asked
    await pushing.agrees()


async def test_one_of_a_customer_and_meter_is_on_its_way_at_a_time(any_pushing: Pushing) -> None:
    pushing = any_pushing
    await pushing.use(*(Use(1, ZERO_US + hour * HOUR_US) for hour in range(4)))
    seen: list[Sequence[UsageTotal]] = []
    pushing.counted_by = pushing.through(seen=seen)
    await pushing.later(4 * HOUR_US)
    assert [len(totals) for totals in seen] == [1, 1, 1, 1]
    assert [total.at_us for [total] in seen] == sorted(total.at_us for [total] in seen)


async def test_two_processes_send_nothing_at_the_same_time(any_pushing: Pushing) -> None:
    pushing = any_pushing
    await pushing.use(Use(1, ZERO_US), Use(2, ZERO_US, "calls"))
    pushing.bench.server.fault({"kind": "busy"})
    await pushing.later(HOUR_US)
    pushing.clock.advance(seconds=10)
    now_us = pushing.clock()
    first = await pushing.bench.ledger.write(lambda tx: pushes.claim(tx, "sandbox", now_us, 1))
    second = await pushing.bench.ledger.write(lambda tx: pushes.claim(tx, "sandbox", now_us, 9))
    assert len(first) == len(second) == 1
    assert await pushing.bench.ledger.write(lambda tx: pushes.claim(tx, "sandbox", now_us, 9)) == []
    later_us = now_us + pushes.LEASE_US
    again = await pushing.bench.ledger.write(lambda tx: pushes.claim(tx, "sandbox", later_us, 9))
    assert len(again) == 2
    stale = await pushing.bench.ledger.write(lambda tx: pushes.finish(tx, first[0], state="parked"))
    assert not stale, "who came too late does not overwrite what the next one does"


async def test_a_busy_provider_is_left_alone_for_longer_each_time(pushing: Pushing) -> None:
    await pushing.use(Use(1, ZERO_US))
    pushing.bench.server.fault({"kind": "busy", "times": 100})
    pushing.clock.advance(us=HOUR_US)
    for _ in range(600):
        await pushing.pusher.run_once()
        pushing.clock.advance(seconds=1)
    asked = pushing.bench.server.asked.count("usage/push")
    assert 5 <= asked <= 12
    [intent] = await pushing.intents()
    assert intent.unsure_since_us is None, "a 429 is no doubt about what the provider has"


async def test_a_rejected_total_is_parked_and_stops_nobody_else(pushing: Pushing) -> None:
    await pushing.bench.office.accounts.create("gone")
    await pushing.meet("gone", "cus_gone")
    del pushing.bench.sandbox.customers["cus_gone"]
    await pushing.use(
        Use(5, ZERO_US), Use(7, ZERO_US, account="gone"), Use(1, ZERO_US + HOUR_US, account="gone")
    )
    await pushing.later(2 * HOUR_US)
    states = {(each.account, each.units): (each.state, each.detail) for each in await pushing.intents()}
    assert states == {
        ("acct", 5): ("accepted", ""),
        ("gone", 7): ("parked", "There is no customer cus_gone."),
        ("gone", 1): ("pending", ""),
    }
    assert pushing.pusher.numbers()["push_parked"] == 1
    assert pushing.counts() == 5


async def test_usage_that_is_too_old_is_not_moved_to_another_time(pushing: Pushing) -> None:
    await pushing.use(Use(5, ZERO_US))
    pushing.clock.advance(us=36 * DAY_US)
    await pushing.pusher.run_once()
    [intent] = await pushing.intents()
    assert (intent.state, pushing.counts()) == ("late", 0)
    [told] = (await pushing.reconcile()).differences
    assert "came too late" in told.sentence and "by hand" in told.advice
    assert await pushing.bench.differences() == []


async def test_a_ledger_of_yesterday_does_not_tell_again_what_was_told_since(pushing: Pushing) -> None:
    """A restored backup asks first: the provider knows what was sent after it."""
    await pushing.use(Use(5, ZERO_US), Use(2, ZERO_US, "calls"))
    backup = await pushing.books.ledger.read(rows_of_pushes)
    await pushing.later(HOUR_US)
    await pushing.books.ledger.write(lambda tx: put_back(tx, backup))
    await pushing.use(Use(1, ZERO_US, "calls"), Use(9, ZERO_US + HOUR_US))
    pushing.clock.advance(us=2 * DAY_US)  # the provider has forgotten the identifiers by now
    restored_us = pushing.clock()
    await pushing.books.ledger.write(lambda tx: push_windows.doubt(tx, restored_us))
    await pushing.until_done()
    assert (pushing.counts(), pushing.counts(meter="calls")) == (14, 2)
    [unclear] = [each for each in await pushing.intents() if each.state == "parked"]
    assert "counts 2 where 0 or 3 was expected" in unclear.detail
    assert (await pushing.reconcile(repair=True)).differences == []
    assert pushing.counts(meter="calls") == 3
    await pushing.agrees()


def rows_of_pushes(tx: Tx) -> dict[str, list[tuple[object, ...]]]:
    return {
        name: [tuple(row) for row in tx.sql(f"SELECT * FROM {name}")]
        for name in ("push_progress", "push_accounts", "push_windows", "push_intents")
    }


def put_back(tx: Tx, backup: dict[str, list[tuple[object, ...]]]) -> None:
    for name, rows in backup.items():
        tx.sql(f"DELETE FROM {name}")
        for row in rows:
            tx.sql(f"INSERT INTO {name} VALUES ({', '.join('?' for _ in row)})", row)


class Confused(MortalSink):
    """An adapter that did not think of what its provider says of one customer."""

    async def usage_summary(self, customer: str, meter: str, start_us: int, end_us: int) -> int:
        if customer == "cus_odd":
            raise KeyError("aggregated_value")
        return await super().usage_summary(customer, meter, start_us, end_us)


async def test_a_customer_whose_summary_nobody_understands_stops_no_other(pushing: Pushing) -> None:
    """After a restore everybody's summary is asked for before anything is sent."""
    await pushing.bench.office.accounts.create("odd")
    await pushing.meet("odd", "cus_odd")
    await pushing.use(Use(9, ZERO_US, account="odd"), Use(3, ZERO_US))
    await pushing.bench.ledger.write(lambda tx: push_windows.doubt(tx, ZERO_US + HOUR_US))
    confused = Confused(pushing.bench.provider, Countdown(0), [])
    pushing.counted_by = Providers([Opened("sandbox", confused, "sandbox")], [Rule("sandbox")])
    for _ in range(3):
        await pushing.later(HOUR_US)
    assert (pushing.counts(), pushing.counts(customer="cus_odd")) == (3, 0)
    pushing.counted_by = pushing.through()
    await pushing.until_done()
    assert pushing.counts(customer="cus_odd") == 9
