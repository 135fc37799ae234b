"""A process that pushes usage and dies at a chosen step; and pushers that forget one rule each."""

import secrets
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from metergate.billing import Pusher
from metergate.ledger import pushes
from metergate.ledger.database import Tx
from metergate.ledger.pushes import ACCEPTED
from metergate.ledger.thread import LedgerThread
from metergate.provider_port import ProviderHealth, Pushed, UsageSink, UsageTotal

T = TypeVar("T")


class Killed(BaseException):
    """The process is no more."""


class Countdown:
    """Kills at the n-th step; a run that survives has had fewer."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class MortalLedger(LedgerThread):
    """A ledger whose process may die before a transaction, in it, or when it has been committed."""

    def __init__(self, own: LedgerThread, countdown: Countdown) -> None:
        super().__init__(own.ledger)
        self._countdown = countdown

    async def write(self, work: Callable[[Tx], T]) -> T:
        self._countdown.step()

        def interrupted(tx: Tx) -> T:
            done = work(tx)
            self._countdown.step()
            return done

        result = await super().write(interrupted)
        self._countdown.step()
        return result


class MortalSink:
    """A provider that is told, or not, before the process dies; its name for itself is the sandbox's."""

    live = False

    def __init__(self, own: UsageSink, countdown: Countdown, seen: list[Sequence[UsageTotal]]) -> None:
        self._own = own
        self._countdown = countdown
        self._seen = seen
        self.forgets_us, self.oldest_us, self.lags_us = own.forgets_us, own.oldest_us, own.lags_us

    async def health(self) -> ProviderHealth:
        return ProviderHealth(ok=True)

    async def close(self) -> None:
        pass

    async def counted_meters(self, meters: Sequence[str]) -> Collection[str]:
        return await self._own.counted_meters(meters)

    async def push_usage(self, totals: Sequence[UsageTotal]) -> Sequence[Pushed]:
        self._countdown.step()
        answers = await self._own.push_usage(totals)
        self._seen.append(totals)
        self._countdown.step()
        return answers

    async def usage_summary(self, customer: str, meter: str, start_us: int, end_us: int) -> int:
        self._countdown.step()
        found = await self._own.usage_summary(customer, meter, start_us, end_us)
        self._countdown.step()
        return found


class ToldFirst(Pusher):
    """Tells the provider under a name of the attempt, and writes it down only afterwards."""

    async def _send(self, name: str, sink: UsageSink) -> int:
        now_us = self.clock()
        due = await self.ledger.read(
            lambda tx: [
                each
                for each in pushes.page(tx, provider=name, limit=1000)
                if each.state in (pushes.PENDING, pushes.SENT) and each.next_at_us <= now_us
            ]
        )
        for each in due:
            total = UsageTotal(secrets.token_hex(16), each.customer, each.meter, each.units, each.at_us)
            [answer] = await sink.push_usage([total])
            values = {"state": ACCEPTED} if answer.status == "accepted" else {"next_at_us": now_us + 1}
            await self.ledger.write(lambda tx: pushes.change(tx, each.seq, **values))  # noqa: B023
        return len(due)


class Unforgetting(MortalSink):
    """Says of the provider that it never forgets an identifier."""

    def __init__(self, own: UsageSink) -> None:
        super().__init__(own, Countdown(0), [])
        self.forgets_us = 2**62


class SendsAgainForEver(Pusher):
    """Believes that the provider never forgets an identifier."""

    async def _send(self, name: str, sink: UsageSink) -> int:
        return await super()._send(name, Unforgetting(sink))
