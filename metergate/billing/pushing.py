"""Usage to the providers that count it: intents first, then the provider, then what became of them.

Whatever is interrupted goes on with the same identifier. What the provider may have without our knowing is
sent again only while it surely remembers the identifier; after that its own summary says whether it has it.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from metergate.billing import gathering, windows
from metergate.billing.following import Handled
from metergate.billing.gathering import Counted
from metergate.billing.providers import Opened
from metergate.errors import MetergateError, ProviderError
from metergate.ledger import chain, pushes
from metergate.ledger.chain import Look
from metergate.ledger.database import Tx
from metergate.ledger.inbox import DONE, IGNORED
from metergate.ledger.pushes import ACCEPTED, DROPPED, LATE, PARKED, PENDING, SENT, Intent, Numbers
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock
from metergate.provider_port import ACCEPTED as TAKEN
from metergate.provider_port import (
    LATER,
    REJECTED,
    UNKNOWN,
    Complains,
    ProviderEvent,
    Pushed,
    UsageSink,
    UsageTotal,
)

log = logging.getLogger("metergate.billing")

BATCH: Final = 20
MARGIN: Final = 24
"""One part in so many of what a provider promises is not relied on: of a day an hour."""
LONGEST_S: Final = 600
RESTS_S: Final = 300
ASKED: Final = "asked"
"""The provider was asked, and does not have it."""


class Sending(NamedTuple):
    """What became of intents: how to write it down."""

    intent: Intent
    values: Mapping[str, Any]


class Pusher:
    def __init__(
        self,
        ledger: Callable[[], LedgerThread],
        wanted: Callable[[], Counted],
        posted_until: Callable[[int], Awaitable[int]],
        clock: Clock,
        every_us: int = windows.MINUTE_US,
        chance: Callable[[], float] = random.random,
        *,
        alone: bool = False,
    ) -> None:
        """`posted_until` says before which instant usage is in the ledger; `alone`: nobody else pushes."""
        self._ledger = ledger
        self._wanted = wanted
        self._posted_until = posted_until
        self._clock = clock
        self._every_us = every_us
        self._chance = chance
        self._leases_end = alone
        self.at_rest = asyncio.Lock()
        """Whoever has it is not pushed past in this process."""
        self._gathered_us = 0
        self._look: tuple[int, Look] | None = None
        self._listed: dict[str, frozenset[str]] = {}
        self._rests: dict[str, tuple[int, int]] = {}
        self._seen = Numbers(0, None, 0)
        self.outcomes: Counter[str] = Counter()

    @property
    def ledger(self) -> LedgerThread:
        return self._ledger()

    @property
    def wanted(self) -> Counted:
        """What is pushed now, and to whom."""
        return self._wanted()._replace(listed=self._listed)

    @property
    def clock(self) -> Clock:
        return self._clock

    def numbers(self) -> Mapping[str, int]:
        """For monitoring: what waits or is parked, the age of the oldest, and what became of attempts."""
        oldest_us = self._seen.oldest_us
        return {
            "push_backlog": self._seen.waiting,
            "push_parked": self._seen.parked,
            "push_oldest_us": max(0, self._clock() - oldest_us) if oldest_us is not None else 0,
            **{f"push_{status}": self.outcomes[status] for status in (TAKEN, REJECTED, UNKNOWN, LATER)},
        }

    async def run_once(self) -> int:
        """Gather when it is time, and send what is due; how much was sent."""
        if not self.wanted.sinks:
            return 0
        async with self.at_rest:
            await self._take_over()
            if abs(self._clock() - self._gathered_us) >= self._every_us:
                self._gathered_us = self._clock()
                try:
                    await self._gather()
                except MetergateError as error:  # what is intended already can be sent all the same
                    log.warning("Usage is not gathered for providers now: %s", error)
            return await self._send_all()

    async def run_now(self) -> int:
        """Everything that is over and can be sent, at once."""
        async with self.at_rest:
            await self._take_over()
            await self._gather()
            self._rests.clear()
            return await self._send_all()

    async def _take_over(self) -> None:
        """What an earlier life of this process had taken need not wait until its lease is over."""
        if self._leases_end:
            await self.ledger.write(lambda tx: pushes.end_leases(tx, self._clock()))
            self._leases_end = False

    # -- gathering -----------------------------------------------------------------------------------------

    async def _gather(self) -> None:
        await self._list_meters()
        if self._look is None:
            until_us = await self._posted_until(self._clock())
            self._look = until_us, await self.ledger.read(chain.look)
        until_us, look = self._look
        writers = await self.ledger.read(lambda tx: chain.still_writing(tx, look.writers))
        if writers:
            self._look = until_us, look._replace(writers=writers)
            return  # below what was seen something may still appear: the next round asks again
        self._look = None
        wanted, upto = self.wanted, look.reached["usage"]
        while await self.ledger.write(lambda tx: gathering.gather(tx, wanted, upto, self._clock())):
            pass
        while await self.ledger.write(lambda tx: gathering.intend(tx, until_us, self._clock())):
            pass
        self._seen = await self.ledger.read(pushes.numbers)

    async def _list_meters(self) -> None:
        """Who has which meters. Who is away has those that it had; rows wait for a first answer."""
        wanted = self.wanted
        for name, sink in wanted.sinks.items():
            known = await self.ledger.read(lambda tx: gathering.remembered_meters(tx, name))  # noqa: B023
            if not wanted.meters <= known:
                try:
                    found = await sink.counted_meters(sorted(wanted.meters))
                except ProviderError:
                    if not known:
                        raise
                else:
                    known = await self._remember(name, known, found)
            self._listed[name] = known

    async def _remember(self, name: str, known: frozenset[str], found: Collection[str]) -> frozenset[str]:
        if known.issuperset(found):
            return known
        return await self.ledger.write(lambda tx: gathering.remember_meters(tx, name, found))

    # -- sending -------------------------------------------------------------------------------------------

    async def _send_all(self) -> int:
        sinks = self.wanted.sinks
        counted = await asyncio.gather(*(self._send(name, sink) for name, sink in sinks.items()))
        if any(counted):
            self._seen = await self.ledger.read(pushes.numbers)
        return sum(counted)

    async def _send(self, name: str, sink: UsageSink) -> int:
        """Everything of one provider that is due, until it wants to be left alone."""
        sent = 0
        while self._rests.get(name, (0, 0))[0] <= self._clock():
            now_us = self._clock()
            if not await self.ledger.read(lambda tx: pushes.due(tx, name, now_us)):  # noqa: B023 - called at once
                break
            taken = await self.ledger.write(lambda tx: pushes.claim(tx, name, now_us, BATCH))  # noqa: B023
            if not taken:
                break
            results = await self._tell(sink, taken)
            await self._write_down(results)
            self._rest(name, [each.status for each, _ in results], [each.after_s for each, _ in results])
            sent += len(taken)
        return sent

    async def _tell(self, sink: UsageSink, taken: Sequence[Intent]) -> list[tuple[Pushed, Sending]]:
        now_us = self._clock()
        fresh = [
            each for each in taken if not doubtful(sink, each, now_us) and not _is_late(sink, each, now_us)
        ]
        answers = dict(zip([each.seq for each in fresh], await _push(sink, fresh), strict=True))
        results = []
        for each in taken:
            if each.seq in answers:
                answer = answers[each.seq]
                results.append((answer, Sending(each, self._outcome(each, answer))))
            else:
                results.append(await self._settle(sink, each))
        return results

    def _outcome(self, intent: Intent, answer: Pushed) -> dict[str, Any]:
        now_us = self._clock()
        values: dict[str, Any] = {"detail": answer.detail[:500], "updated_at_us": now_us}
        if answer.status == TAKEN:
            return {**values, "state": ACCEPTED, "detail": ""}
        if answer.status == REJECTED:
            log.warning(
                "Usage of %s for %s is parked: %s", intent.customer, intent.meter, answer.detail[:500]
            )
            return {**values, "state": PARKED, "unsure_since_us": intent.unsure_since_us}
        values["next_at_us"] = now_us + self._pause_us(intent.tries, LONGEST_S, answer.after_s)
        if answer.status == LATER:
            values["unsure_since_us"] = intent.unsure_since_us
        return values

    async def _settle(self, sink: UsageSink, intent: Intent) -> tuple[Pushed, Sending]:
        """What cannot be sent again as it is: the provider's summary says whether it has it."""
        now_us = self._clock()
        late = _is_late(sink, intent, now_us)
        lost: dict[str, Any] = {"state": PENDING, "unsure_since_us": None, "next_at_us": now_us}
        if late:
            said = "It is older than what the provider takes: invoice it by hand."
            log.warning("Usage of %s for %s: %s", intent.customer, intent.meter, said)
            lost = {"state": LATE, "detail": said, "updated_at_us": now_us}
        if late and intent.unsure_since_us is None:
            return Pushed(REJECTED), Sending(intent, lost)
        span = windows.whole_minutes(intent.start_us, intent.end_us)
        there = await _counted_there(sink, intent, span)
        if isinstance(there, Pushed):
            return there, Sending(intent, self._outcome(intent, there))
        before = await self.ledger.read(lambda tx: pushes.accepted_between(tx, intent, *span))
        if intent.repair:
            before -= intent.units  # it was made because the provider counted so much less
        if there == before + intent.units:
            answer = Pushed(TAKEN)
            return answer, Sending(intent, self._outcome(intent, answer))
        if there == before:
            return Pushed(ASKED), Sending(intent, lost)
        said = f"The provider counts {there} where {before} or {before + intent.units} was expected"
        answer = Pushed(REJECTED, f"{said}: run metergate reconcile --repair.")
        return answer, Sending(intent, self._outcome(intent, answer))

    async def _write_down(self, results: Sequence[tuple[Pushed, Sending]]) -> None:
        def work(tx: Tx) -> None:
            for _, (intent, values) in results:
                pushes.finish(tx, intent, **values)

        await self.ledger.write(work)
        self.outcomes.update(answer.status for answer, _ in results)

    def _rest(self, name: str, statuses: Sequence[str], after_s: Sequence[float]) -> None:
        """A provider that takes nothing, or says that it has enough, is left alone for a while."""
        busy = LATER in statuses or set(statuses) == {UNKNOWN}
        if not busy:
            self._rests.pop(name, None)
            return
        times = self._rests.get(name, (0, 0))[1]
        pause_us = self._pause_us(times, RESTS_S, max(after_s))
        self._rests[name] = self._clock() + pause_us, times + 1

    def _pause_us(self, times: int, longest_s: int, after_s: float) -> int:
        """Twice as long each time, up to a bound, and anywhere below it: not everybody comes back at once."""
        most = min(2 ** min(times, 20), longest_s)
        return int(max(after_s, most * self._chance(), 0.1) * windows.SECOND_US)

    # -- what the provider finds out later -----------------------------------------------------------------

    async def complain(self, opened: Opened, event: ProviderEvent) -> Handled:
        """News of usage that was accepted and could not be counted: a new intent for it is parked."""
        sink = opened.provider
        if not isinstance(sink, Complains):
            return Handled(IGNORED, "Nothing follows from it.")
        found = await sink.usage_complaints(event.id)
        now_us = self._clock()

        def work(tx: Tx) -> int:
            return sum(drop(tx, opened.name, each.identifier, each.detail, now_us) for each in found)

        dropped = await self.ledger.write(work)
        for each in found:
            log.warning("%s could not count usage that it had taken: %s", opened.name, each.detail[:500])
        return Handled(DONE, f"{dropped} usage totals are parked; run metergate reconcile.")


def drop(tx: Tx, provider: str, identifier: str, detail: str, now_us: int) -> bool:
    """The provider threw an intent away: another one takes its place, and waits for an operator."""
    gone = pushes.named(tx, provider, identifier)
    if gone is None or gone.state not in (ACCEPTED, SENT):
        return False
    made = gathering.again(tx, gone, now_us)
    pushes.change(tx, gone.seq, state=DROPPED, detail=detail[:500], updated_at_us=now_us)
    pushes.insert(tx, [made._replace(state=PARKED, detail=detail[:500])])
    return True


def doubtful(sink: UsageSink, intent: Intent, now_us: int) -> bool:
    """Whether the provider may have an intent, and may have forgotten its identifier."""
    unsure = intent.unsure_since_us
    return unsure is not None and now_us - unsure >= sink.forgets_us - sink.forgets_us // MARGIN


def _is_late(sink: UsageSink, intent: Intent, now_us: int) -> bool:
    return intent.at_us < now_us - sink.oldest_us + windows.MINUTE_US


async def _push(sink: UsageSink, intents: Sequence[Intent]) -> Sequence[Pushed]:
    if not intents:
        return []
    totals = [UsageTotal(i.identifier, i.customer, i.meter, i.units, i.at_us) for i in intents]
    try:
        answers = await sink.push_usage(totals)
    except Exception as error:  # an adapter that breaks its promise must not lose the others
        log.exception("The adapter failed while it pushed usage.")
        answers = [Pushed(UNKNOWN, repr(error)) for _ in intents]
    return answers


async def _counted_there(sink: UsageSink, intent: Intent, span: tuple[int, int]) -> int | Pushed:
    """What the provider counts of a customer and a meter; as an answer, why nobody knows."""
    try:
        return await sink.usage_summary(intent.customer, intent.meter, *span)
    except ProviderError as error:
        return Pushed(UNKNOWN, str(error))
    except Exception as error:  # the same: one customer must not keep what became of the others from us
        log.exception("The adapter failed while it was asked what it counts of %s.", intent.customer)
        return Pushed(UNKNOWN, repr(error))
