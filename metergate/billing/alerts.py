"""Alerts: a balance that falls below a threshold, and what was spent in a period. Each is told once.

They look at what the ledger has, every few seconds, and no call waits for them. Where an account stands is a
mark; who changes the mark tells, in the same transaction, so of many workers one does.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from metergate.core.guards import SpendAlert
from metergate.core.money import as_json
from metergate.core.periods import Every, Window, rfc3339, window
from metergate.core.policy import Policy
from metergate.ledger import alerts, notices
from metergate.ledger.alerts import ARMED, BALANCE, FIRED, SPEND, Crossing, Own
from metergate.ledger.database import Tx
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock

EVERY_US: Final = 5 * 10**6
CHUNK: Final = 200


class Alerts:
    def __init__(
        self, ledger: Callable[[], LedgerThread], policy: Callable[[], Policy], clock: Clock
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._clock = clock
        self._looked_us = 0

    async def run_once(self) -> int:
        """Tell what has been crossed, if it is time to look; how many notices were due."""
        now_us = self._clock()
        if abs(now_us - self._looked_us) < EVERY_US:
            return 0
        self._looked_us = now_us
        return await self.look()

    async def look(self) -> int:
        policy = self._policy()
        own = await self._ledger().read(alerts.own)
        told = 0
        for level, only in _levels(policy, own):
            told += await self._balances(level, only, policy.currency)
        spending = _spending(policy, own)
        for every in sorted({alert.every for alert, _ in spending}):
            told += await self._spends(every, [each for each in spending if each[0].every == every], policy)
        return told

    async def _balances(self, level: int, only: Sequence[str] | None, currency: str) -> int:
        found = await self._ledger().read(lambda tx: alerts.balances(tx, level, currency, only))
        now_us = self._clock()

        def work(crossings: Sequence[Crossing], tx: Tx) -> int:
            told = 0
            for each in crossings:
                state = FIRED if each.fired else ARMED
                news = alerts.mark(tx, each.account, alerts.name(BALANCE, level), 0, state, now_us)
                if news and each.fired:
                    told += 1
                    _tell_low(tx, each, level, now_us)
            return told

        return await self._in_chunks(found, work)

    async def _spends(
        self, every: Every, spending: Sequence[tuple[SpendAlert, Sequence[str] | None]], policy: Policy
    ) -> int:
        now_us = self._clock()
        current = window(every, now_us, policy.zone)
        before = window(every, current.start_us - 1, policy.zone)
        # What another machine's clock has dated ahead belongs to the next period, and is seen once.
        ahead = window(every, current.end_us, policy.zone)
        closed, counted = await self._ledger().read(
            lambda tx: (alerts.closed_until(tx), alerts.counted_until(tx, every))
        )
        if counted is None or counted < closed:
            await self._ledger().write(lambda tx: alerts.count_spending(tx, (before, current, ahead), every))
        told = 0
        for alert, only in spending:
            for period in (before, current):
                told += await self._spent(alert, only, period, policy.currency)
        return told

    async def _spent(
        self, alert: SpendAlert, only: Sequence[str] | None, period: Window, currency: str
    ) -> int:
        start_us, now_us = period.start_us, self._clock()
        found = await self._ledger().read(lambda tx: alerts.spends(tx, alert, start_us, currency, only))
        named = alerts.name(SPEND, alert.amount, alert.every)

        def work(crossings: Sequence[Crossing], tx: Tx) -> int:
            told = 0
            for each in crossings:
                if alerts.mark(tx, each.account, named, start_us, FIRED, now_us):
                    told += 1
                    _tell_spent(tx, each, alert, period, now_us)
            return told

        return await self._in_chunks(found, work)

    async def _in_chunks(
        self, found: Sequence[Crossing], work: Callable[[Sequence[Crossing], Tx], int]
    ) -> int:
        """Short transactions: flushers wait for the same accounts."""
        told = 0
        for start in range(0, len(found), CHUNK):
            told += await self._ledger().write(partial(work, found[start : start + CHUNK]))
        return told


def _levels(policy: Policy, own: Sequence[Own]) -> list[tuple[int, Sequence[str] | None]]:
    """Every threshold and whose it is; None is everybody who has none of their own."""
    mine: dict[int, list[str]] = {}
    for each in own:
        for level in each.balance or ():
            mine.setdefault(level, []).append(each.account)
    return [*((level, None) for level in policy.alerts.balance), *mine.items()]


def _spending(policy: Policy, own: Sequence[Own]) -> list[tuple[SpendAlert, Sequence[str] | None]]:
    mine: dict[SpendAlert, list[str]] = {}
    for each in own:
        for alert in each.spend or ():
            mine.setdefault(alert, []).append(each.account)
    return [*((alert, None) for alert in policy.alerts.spend), *mine.items()]


def _tell_low(tx: Tx, found: Crossing, level: int, now_us: int) -> None:
    told: Mapping[str, object] = {
        "balance": as_json(found.value, found.currency),
        "threshold": as_json(level, found.currency),
    }
    notices.tell(tx, "credits.low", found.account, told, now_us, f"{found.account}:{level}:{now_us}")


def _tell_spent(tx: Tx, found: Crossing, alert: SpendAlert, period: Window, now_us: int) -> None:
    told: Mapping[str, object] = {
        "spent": as_json(found.value, found.currency),
        "threshold": as_json(alert.amount, found.currency),
        "every": alert.every,
        "since": rfc3339(period.start_us),
        "until": rfc3339(period.end_us),
    }
    cause = f"{found.account}:{alert.every}:{alert.amount}:{period.start_us}"
    notices.tell(tx, "spend.threshold", found.account, told, now_us, cause)
