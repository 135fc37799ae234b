"""What a shared store has lost, and this process still has: calls that run, and calls that have ended.

A call that runs holds again what it held. One that ended, and that neither the ledger nor the store knows,
is held and settled again under its own id, whatever is left: it was served. Doing so twice changes nothing.
"""

from collections.abc import Iterable, Sequence

from metergate.core.budget import BALANCE, QUOTA, unbounded
from metergate.core.facts import Caller
from metergate.core.hold import UsageEvent
from metergate.core.idempotency import Twin
from metergate.errors import StoreUnavailable
from metergate.ledger import usage
from metergate.ledger.thread import LedgerThread
from metergate.ports import (
    CONFLICT,
    FULL,
    STALE,
    UNKNOWN,
    AskAccount,
    Clock,
    CounterStore,
    Held,
    Hold,
    PutTwin,
    Settle,
    answered,
)
from metergate.store.journalled import Journalled
from metergate.wire import decode_event, encode_event, encode_terms

LASTS_US = 60 * 10**6
PORTION = 500
"""Holds and ends that are told at once."""


class Reviving:
    def __init__(
        self, store: CounterStore, ledger: LedgerThread, clock: Clock, journal: Journalled | None = None
    ) -> None:
        self._store = store
        self._journal = journal
        self._bare = journal.bare if journal is not None else store
        """A hold that is made again was dispatched; a journal in front would take it for one that was not."""
        self._ledger = ledger
        self._clock = clock

    async def hold_again(self, running: Sequence[Hold]) -> None:
        """Set aside again what running calls have set aside. Asked before anything that comes after it."""
        holds = [each._replace(draws=tuple(map(unbounded, each.draws))) for each in running]
        if self._journal is not None:
            self._journal.take_up(running)
        await self._hold(holds)

    async def settle_again(self, ended: Sequence[Settle]) -> set[str]:
        """Charge calls that were served, each once; those that the ledger lacked.

        StoreUnavailable where it has to be tried again.
        """
        known = await self._known([each.op for each in ended])
        lost = [each for each in ended if each.op not in known]
        for start in range(0, len(lost), PORTION):
            await self._settle(lost[start : start + PORTION])
        return {each.op for each in lost}

    async def run_again(self, running: Sequence[Hold]) -> None:
        """The same; given back where a reaper has ended the call, for the ledger is asked only then."""
        await self.hold_again(running)
        ended = await self._known([hold.op for hold in running])
        if ended:
            await answered(self._store.release(sorted(ended), self._clock()))

    async def stand_again(self, standing: Sequence[Hold]) -> None:
        """The same for calls that somebody else may have ended: not where the ledger has their end."""
        await self.hold_again(await self._without_end(standing))

    async def speak_for(self, standing: Sequence[Hold]) -> None:
        """Write down what the store holds, in case that it loses it."""
        if self._journal is not None:
            self._journal.take_up(await self._without_end(standing))

    async def _without_end(self, standing: Sequence[Hold]) -> list[Hold]:
        ended = await self._known([hold.op for hold in standing])
        return [hold for hold in standing if hold.op not in ended]

    async def _known(self, ops: Sequence[str]) -> set[str]:
        return await self._ledger.read(lambda tx: usage.known(tx, ops)) if ops else set()

    async def _settle(self, lost: Sequence[Settle]) -> None:
        answers = await answered(self._store.settle(lost, self._clock()))
        unheld = [each for each, answer in zip(lost, answers, strict=True) if answer == UNKNOWN]
        if unheld:
            await self._settle_unheld(unheld)

    async def _settle_unheld(self, unheld: Sequence[Settle]) -> None:
        events = [decode_event(each.event) for each in unheld]
        now_us = self._clock()
        held = await self._hold([_hold(event, now_us + LASTS_US) for event in events])
        if any(each.status == CONFLICT for each in held):  # somebody is at it, with other figures
            raise StoreUnavailable("Another process is charging the call; ask again in a moment.")
        again = [each._replace(amounts=None) for each in unheld]
        if UNKNOWN in await answered(self._store.settle(again, now_us)):
            raise StoreUnavailable("Calls that were served are not charged yet; they are held again.")
        await answered(self._store.sync(list(_twins(unheld, events)), now_us))

    async def _hold(self, holds: Sequence[Hold]) -> Sequence[Held]:
        names = sorted({each.account for each in holds})
        told = await answered(self._store.state([AskAccount(name) for name in names]))
        generations = {
            name: caller.generation
            for name, caller in zip(names, told, strict=True)
            if isinstance(caller, Caller)
        }
        known = [
            each._replace(generation=generations[each.account])
            for each in holds
            if each.account in generations
        ]
        held: list[Held] = []
        for start in range(0, len(known), PORTION):
            held += await answered(self._bare.hold(known[start : start + PORTION], self._clock()))
        if len(known) < len(holds) or any(each.status in (STALE, FULL) for each in held):
            raise StoreUnavailable("What runs here could not be set aside again yet.")
        return held


def as_settle(event: UsageEvent) -> Settle:
    """The end that an event tells of."""
    return Settle(event.op, event.amounts, encode_event(event), event.answer)


def _hold(event: UsageEvent, expires_at_us: int) -> Hold:
    """What the call came to, as a hold: open calls and rates are over.

    It has the draws that the call had, each in its place, because anybody may settle it with all its amounts.
    """
    counted = [
        unbounded(draw)._replace(amount=amount if draw.kind in (BALANCE, QUOTA) else 0)
        for draw, amount in zip(event.terms.draws, event.amounts, strict=True)
    ]
    terms = encode_terms(event.terms)
    return Hold(
        event.op, event.terms.account, 0, tuple(counted), expires_at_us, terms, event.request_id, None, True
    )


def _twins(settles: Sequence[Settle], events: Sequence[UsageEvent]) -> Iterable[PutTwin]:
    for settle, event in zip(settles, events, strict=True):
        if event.twin:
            yield PutTwin(Twin(*event.twin), settle.answer)
