"""The numbers of money in, for monitoring: what was counted here, and what the ledger said a moment ago."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from metergate import alarms
from metergate.alarms import Told
from metergate.billing.cashier import Cashier
from metergate.billing.inbox import Inbox
from metergate.billing.pushing import Pusher
from metergate.ledger import census
from metergate.ledger.census import Census
from metergate.provider_port import ACCEPTED as TAKEN
from metergate.provider_port import LATER, REJECTED, UNKNOWN

log = logging.getLogger("metergate.billing")

EVERY_US: Final = 10 * 10**6
OUTCOMES: Final = (TAKEN, REJECTED, UNKNOWN, LATER)
COUNTED: Final = (
    "provider_calls",
    "payments_moved",
    "news_forged",
    "push_outcomes",
    "topups_moved",
    "notices_told",
)
"""What is added up where one process has several policies; everything else is of the one ledger."""

Numbers = Mapping[str, list[list[Any]]]
"""Of each name the labels of a number, and the number behind them."""


class Watching:
    def __init__(self, cashier: Cashier, inbox: Inbox) -> None:
        self._cashier = cashier
        self._inbox = inbox
        self._clock = cashier.clock
        self._told = Told(log)
        self._looked_us = 0
        self._census: Census | None = None

    async def look(self) -> None:
        """Count again, if it is time; where no worker runs nobody does."""
        now_us = self._clock()
        if abs(now_us - self._looked_us) < EVERY_US:
            return
        self._looked_us = now_us
        found = self._census = await self._cashier.books.ledger.read(partial(census.take, now_us=now_us))
        waits_s = max((now_us - each.oldest_us for each in found.waiting.values()), default=0) // 10**6
        late = waits_s > alarms.NEWS_LATE_S
        sentence = f"News of payment providers has waited for {waits_s} seconds."
        self._told.mind(alarms.NEWS_WAITS, late, late, sentence)
        dead = sum(found.dead.values())
        sentence = f"{dead} events of payment providers were tried too often and are given up."
        self._told.mind(alarms.NEWS_DEAD, dead > 0, dead > 0, sentence)

    def numbers(self) -> Numbers:
        counted: dict[str, list[list[Any]]] = {
            "provider_calls": _rows(self._cashier.asking.answers),
            "payments_moved": _rows(self._cashier.moved),
            "news_forged": [[name, count] for name, count in self._inbox.forged.items()],
        }
        found = self._census
        if found is None:
            return counted
        now_us = self._clock()
        return {
            **counted,
            "payments_open": _rows(found.open),
            "payments_mismatched": [[name, count] for name, count in found.mismatched.items()],
            "news_waiting": [[name, each.events] for name, each in found.waiting.items()],
            "news_lag_s": [
                [name, max(0, now_us - each.oldest_us) // 10**6] for name, each in found.waiting.items()
            ],
            "news_dead": [[name, count] for name, count in found.dead.items()],
        }


class WatchingPushes:
    """The same of usage for providers."""

    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher
        self._told = Told(log)

    def look(self) -> None:
        seen = self._pusher.numbers()
        waits_s, parked = seen["push_oldest_us"] // 10**6, seen["push_parked"]
        late = waits_s > alarms.PUSH_LATE_S
        sentence = f"Usage for payment providers has waited for {waits_s} seconds."
        self._told.mind(alarms.PUSH_WAITS, late, late, sentence)
        sentence = f"{parked} totals of usage are parked: their providers will not take them as they are."
        self._told.mind(alarms.PUSH_PARKED, parked > 0, parked > 0, sentence)

    def numbers(self, drift: int | None) -> Numbers:
        """`drift` is how many differences the last reconcile found; None where there was none."""
        seen = self._pusher.numbers()
        return {
            "push_backlog": [[seen["push_backlog"]]],
            "push_parked": [[seen["push_parked"]]],
            "push_oldest_s": [[seen["push_oldest_us"] // 10**6]],
            "push_outcomes": [[each, seen[f"push_{each}"]] for each in OUTCOMES],
            **({"drift": [[drift]]} if drift is not None else {}),
        }


def together(several: Iterable[Numbers]) -> Numbers:
    """The numbers of all policies that one process serves from one ledger."""
    merged: dict[str, list[list[Any]]] = {}
    for numbers in several:
        for name, rows in numbers.items():
            merged[name] = _added(merged.get(name, ()), rows) if name in COUNTED else rows
    return merged


def _added(some: Iterable[list[Any]], more: Iterable[list[Any]]) -> list[list[Any]]:
    """What happened not once yet is a number, too."""
    total = _counter(some)
    total.update(_counter(more))
    return _rows(total)


def _counter(rows: Iterable[list[Any]]) -> Counter[tuple[str, ...]]:
    return Counter({tuple(labels): count for *labels, count in rows})


def _rows(counted: Mapping[Any, int]) -> list[list[Any]]:
    """Of names that are tuples of labels."""
    return [[*labels, count] for labels, count in counted.items()]
