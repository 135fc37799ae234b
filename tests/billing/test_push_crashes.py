"""A process that pushes may die at any of its steps, and the provider counts everything once."""

import pytest

from metergate.billing import Pusher
from metergate.billing.windows import DAY_US, MINUTE_US
from tests.billing.push_crashes import Countdown, Killed, MortalLedger, SendsAgainForEver, ToldFirst
from tests.billing.usage_bench import HOUR_US, Pushing, Use

STEPS = 400
"""More than any run has."""


async def _live(pushing: Pushing, account: str, kind: type[Pusher], step: int) -> bool:
    """Two windows, late usage, and an answer that is lost; whether the process survived."""
    countdown = Countdown(step)
    mortal = pushing.a_pusher(kind=kind, ledger=MortalLedger(pushing.bench.ledger, countdown))
    honest, pushing.counted_by = pushing.counted_by, pushing.through(countdown)
    start_us = (pushing.clock() // HOUR_US + 1) * HOUR_US
    await pushing.use(Use(5, start_us, account=account), Use(7, start_us + HOUR_US, account=account))
    pushing.clock.now_us = start_us + 2 * HOUR_US
    late = [Use(2, start_us, account=account)]
    try:
        await mortal.run_once()
        await pushing.use(late.pop())
        pushing.bench.server.fault({"kind": "lost"})
        for _ in range(3):
            pushing.clock.advance(us=2 * MINUTE_US)
            await mortal.run_once()
    except Killed:
        await pushing.use(*late)
        return False
    finally:
        pushing.counted_by = honest
        pushing.bench.server.well()
    return True


async def _wrong(pushing: Pushing, kind: type[Pusher], *, away_us: int = 0) -> list[str]:
    """What the provider counts wrongly, for each step at which a process died."""
    wrong = []
    for step in range(1, STEPS):
        account = f"a{step}"
        await pushing.bench.office.accounts.create(account)
        await pushing.meet(account, f"cus_{account}", pushing.clock())
        survived = await _live(pushing, account, kind, step)
        pushing.clock.advance(us=away_us)
        pushing.pusher = pushing.a_pusher(kind=kind)
        await pushing.until_done()
        found = pushing.counts(customer=f"cus_{account}")
        if found != 14:
            wrong.append(f"killed at step {step}: {found}")
        if survived:
            assert step > 20, "the story has more steps than that"
            return wrong
    pytest.fail("No run survived.")


async def test_who_dies_at_any_step_has_told_everything_once(pushing: Pushing) -> None:
    assert await _wrong(pushing, Pusher) == []
    await pushing.agrees()


async def test_who_dies_and_is_away_for_a_day_has_told_everything_once(pushing: Pushing) -> None:
    assert await _wrong(pushing, Pusher, away_us=DAY_US + HOUR_US) == []
    await pushing.agrees()


@pytest.mark.parametrize(("kind", "away_us"), [(ToldFirst, 0), (SendsAgainForEver, DAY_US + HOUR_US)])
async def test_a_pusher_that_forgets_a_rule_is_caught(
    pushing: Pushing, kind: type[Pusher], away_us: int
) -> None:
    assert await _wrong(pushing, kind, away_us=away_us)
    assert (await pushing.reconcile()).differences
