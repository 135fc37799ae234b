"""Usage reaches the provider once: totals by window, from intents that were written down before."""

from metergate.billing.windows import DAY_US, MINUTE_US
from tests.billing.usage_bench import CUSTOMER, HOUR_US, ZERO_US, Pushing, Use


async def test_a_window_that_is_over_is_told_as_one_total(any_pushing: Pushing) -> None:
    pushing = any_pushing
    await pushing.use(Use(5, ZERO_US), Use(7, ZERO_US + HOUR_US - 1), Use(2, ZERO_US + 1, "calls"))
    await pushing.use(Use(100, ZERO_US + HOUR_US))
    await pushing.later(HOUR_US)
    assert sorted(await pushing.told()) == [(2, "accepted", 0), (12, "accepted", 0)]
    assert pushing.counts(ZERO_US, ZERO_US + HOUR_US) == 12
    assert pushing.counts(ZERO_US, ZERO_US + HOUR_US, "calls") == 2
    await pushing.later(HOUR_US)
    assert pushing.counts(ZERO_US + HOUR_US) == 100
    await pushing.agrees()


async def test_a_window_is_not_told_while_something_of_it_may_still_come(pushing: Pushing) -> None:
    await pushing.use(Use(5, ZERO_US))
    reached = ZERO_US + HOUR_US - 1

    async def posted_until(_now_us: int) -> int:
        return reached

    slow = pushing.a_pusher(posted_until)
    pushing.clock.advance(us=3 * HOUR_US)
    await slow.run_once()
    assert await pushing.told() == []
    reached += 1
    pushing.clock.advance(us=MINUTE_US)
    await slow.run_once()
    assert await pushing.told() == [(5, "accepted", 0)]


async def test_late_usage_is_told_as_the_difference(any_pushing: Pushing) -> None:
    pushing = any_pushing
    await pushing.use(Use(5, ZERO_US))
    await pushing.later()
    for units in (3, 4):
        await pushing.use(Use(units, ZERO_US + 1))
        await pushing.later(2 * MINUTE_US)
    assert await pushing.told() == [(5, "accepted", 0), (3, "accepted", 1), (4, "accepted", 2)]
    assert pushing.counts(ZERO_US, ZERO_US + HOUR_US) == 12
    await pushing.agrees()


async def test_identifiers_come_from_what_is_counted(pushing: Pushing) -> None:
    await pushing.use(Use(5, ZERO_US))
    await pushing.later()
    await pushing.use(Use(5, ZERO_US), Use(5, ZERO_US + HOUR_US), Use(5, ZERO_US, "calls"))
    await pushing.later()
    names = [each.identifier for each in await pushing.intents()]
    assert len(set(names)) == 4
    assert all(len(name) <= 100 and CUSTOMER not in name for name in names)
    inside = [each.start_us < each.at_us < each.end_us for each in await pushing.intents()]
    assert all(inside)


async def test_who_is_no_customer_is_not_told_of(pushing: Pushing) -> None:
    await pushing.bench.office.accounts.create("other")
    await pushing.use(Use(5, ZERO_US, account="other"))
    await pushing.later()
    assert await pushing.told() == []


async def test_what_was_used_before_the_provider_knew_the_account_is_not_told(pushing: Pushing) -> None:
    await pushing.bench.office.accounts.create("other")
    half = ZERO_US + HOUR_US // 2
    await pushing.use(Use(5, half - 1, account="other"), Use(7, half, account="other"))
    await pushing.later()
    await pushing.meet("other", "cus_other", half)
    await pushing.later(2 * MINUTE_US)
    assert [(each.units, each.start_us) for each in await pushing.intents()] == [(7, half)]
    assert (await pushing.reconcile()).differences == []


async def test_shadowed_calls_and_other_meters_are_not_told(pushing: Pushing) -> None:
    await pushing.use(Use(5, ZERO_US, "rows"), Use(9, ZERO_US, measured="shadow"), Use(1, ZERO_US))
    await pushing.later()
    assert await pushing.told() == [(1, "accepted", 0)]
    await pushing.agrees()


async def test_usage_on_both_sides_of_a_period_is_told_apart(any_pushing: Pushing) -> None:
    """Otherwise the end of a month would be on the next invoice, or on none."""
    pushing = any_pushing
    await pushing.use(Use(5, ZERO_US + 10 * MINUTE_US), Use(7, ZERO_US + 50 * MINUTE_US))
    ended_us = ZERO_US + 30 * MINUTE_US
    await pushing.subscribe(ended_us - 30 * DAY_US, ended_us)
    await pushing.later(31 * MINUTE_US)
    assert await pushing.told() == [(5, "accepted", 0)], "what is over is told at once"
    await pushing.subscribe(ended_us, ended_us + 30 * DAY_US)
    await pushing.later(30 * MINUTE_US)
    assert pushing.counts(0, ended_us) == 5
    assert pushing.counts(ended_us) == 7
    await pushing.agrees()


async def test_what_was_told_is_not_cut_in_two_afterwards(pushing: Pushing) -> None:
    await pushing.use(Use(5, ZERO_US), Use(7, ZERO_US + 50 * MINUTE_US))
    await pushing.later()
    ended_us = ZERO_US + 30 * MINUTE_US
    await pushing.subscribe(ended_us - 30 * DAY_US, ended_us)
    await pushing.use(Use(1, ZERO_US))
    await pushing.later()
    assert await pushing.told() == [(12, "accepted", 0), (1, "accepted", 1)]
    await pushing.agrees()


async def test_another_length_of_windows_tells_nothing_twice(pushing: Pushing) -> None:
    await pushing.use(Use(5, ZERO_US))
    await pushing.later()
    pushing.window_us = 15 * MINUTE_US
    await pushing.later(MINUTE_US)
    await pushing.use(Use(1, ZERO_US + HOUR_US), Use(2, ZERO_US))
    await pushing.later(HOUR_US + 2 * MINUTE_US)
    await pushing.use(Use(3, ZERO_US + 2 * HOUR_US), Use(4, ZERO_US + 2 * HOUR_US + 20 * MINUTE_US))
    await pushing.later(HOUR_US)
    lengths = [(each.units, (each.end_us - each.start_us) // MINUTE_US) for each in await pushing.intents()]
    assert lengths == [(5, 60), (2, 60), (1, 60), (3, 15), (4, 15)]
    assert pushing.counts() == 15
    await pushing.agrees()


async def test_an_account_that_moves_is_counted_by_one_provider_at_a_time(pushing: Pushing) -> None:
    await pushing.use(Use(5, ZERO_US))
    await pushing.later()
    elsewhere = await pushing.move_to_another_provider()
    await pushing.use(Use(1, ZERO_US), Use(7, ZERO_US + HOUR_US))
    await pushing.later()
    assert pushing.counts() == 6
    assert elsewhere.sandbox.usage.summary(CUSTOMER, "tokens", 0, 2**62) == 7
    await pushing.agrees()


async def test_many_accounts_and_windows_are_told_in_a_few_rounds(any_pushing: Pushing) -> None:
    pushing = any_pushing
    names = [f"many{number}" for number in range(45)]
    for name in names:
        await pushing.bench.office.accounts.create(name)
        await pushing.meet(name, f"cus_{name}")
    await pushing.use(
        *(Use(3, ZERO_US + hour * HOUR_US, account=name) for name in names for hour in range(6))
    )
    await pushing.later(6 * HOUR_US)
    assert {(state, units) for units, state, _ in await pushing.told()} == {("accepted", 3)}
    assert len(await pushing.told()) == 45 * 6
    await pushing.agrees()
