"""What the worker does for money in: news that waits, payments that nobody has finished, feeds."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from metergate.billing import following, refunding
from metergate.billing.cashier import Cashier
from metergate.billing.inbox import Inbox
from metergate.billing.settling import next_look_us
from metergate.billing.watching import Watching
from metergate.errors import MetergateError, StoreUnavailable
from metergate.ledger import inbox, payments, reversals, subscriptions
from metergate.ledger.payments import Payment
from metergate.provider_port import TryAgain, UnknownOutcome

log = logging.getLogger("metergate.billing")
T = TypeVar("T")

BATCH: Final = 20
LOOK_EVERY_US: Final = 2 * 10**6
FEED_EVERY_US: Final = 15 * 10**6
RENEWALS_EVERY_US: Final = 3600 * 10**6
FORGET_EVERY_US: Final = 3600 * 10**6
FORGET_AT_ONCE: Final = 500
KEEP_NEWS_US: Final = 30 * 24 * 3600 * 10**6
"""How long the bytes of news are kept that was handled."""
MINUTE_US: Final = 60 * 10**6


class Rounds:
    def __init__(self, cashier: Cashier, inbox: Inbox) -> None:
        self.watching = Watching(cashier, inbox)
        self._cashier = cashier
        self._inbox = inbox
        self._clock = cashier.clock
        self._asking = cashier.asking
        self._away: set[str] = set()
        """Who did not answer in this round: an outage costs it one time-out, and not one per question."""
        self._looked_us = 0
        self._fetched_us = 0
        self._renewed_us = 0
        self._ended_us = 0
        self._forgot_us = 0

    async def run_once(self) -> int:
        """One round; how much there was to do. A provider that is away stops nothing but itself."""
        if not self._cashier.providers:
            return 0
        self._away.clear()
        done = await self._inbox.handle_some(BATCH)
        now_us = self._clock()
        if abs(now_us - self._looked_us) >= LOOK_EVERY_US:
            self._looked_us = now_us
            done += await self._look()
        if abs(now_us - self._fetched_us) >= FEED_EVERY_US:
            self._fetched_us = now_us
            done += await self._fetch()
        if abs(now_us - self._renewed_us) >= RENEWALS_EVERY_US:
            done += await self._renewals(now_us)
        if abs(now_us - self._ended_us) >= MINUTE_US:
            self._ended_us = now_us
            done += await self._end_outdone()
        await self.watching.look()
        if abs(now_us - self._forgot_us) >= FORGET_EVERY_US:
            done += await self._forget(now_us)
        return done

    async def _look(self) -> int:
        """Ask for payments and refunds of which nobody knows the end."""
        ledger, now_us = self._cashier.books.ledger, self._clock()
        due = await ledger.read(lambda tx: payments.due(tx, now_us, BATCH))
        for payment in due:
            await self._put_off(payment)
            what = f"The payment {payment.id} cannot be asked for now"
            await self._try(payment.provider, what, partial(self._cashier.verify, payment.id))
        refunds = await ledger.read(lambda tx: reversals.due(tx, now_us, BATCH))
        for refund in refunds:
            wait_us = MINUTE_US if refund.provider in self._away else 10 * MINUTE_US
            later = self._clock() + max(wait_us, self._asking.left_us(refund.provider))
            await ledger.write(partial(reversals.change_refund, id=refund.id, look_at_us=later))
            what = f"The refund {refund.id} is not done yet"
            await self._try(refund.provider, what, partial(refunding.send, self._cashier, refund))
        return len(due) + len(refunds)

    async def _put_off(self, payment: Payment) -> None:
        """Whatever becomes of the question, the next one has its time: no payment holds up the others."""
        look_at_us = next_look_us(payment, self._clock())
        if payment.provider in self._away and look_at_us is not None:
            look_at_us = self._clock() + MINUTE_US  # it was not asked for this one
        if look_at_us is not None:
            look_at_us = max(look_at_us, self._clock() + self._asking.left_us(payment.provider))
        await self._cashier.books.ledger.write(
            lambda tx: payments.change(tx, payment.id, look_at_us=look_at_us)
        )

    async def _renewals(self, now_us: int) -> int:
        """Ask for subscriptions that should have been renewed an hour ago, and of which nobody told us."""
        ledger, before_us = self._cashier.books.ledger, now_us - RENEWALS_EVERY_US
        due = await ledger.read(lambda tx: subscriptions.over(tx, before_us, BATCH))
        for known in due:
            await ledger.write(partial(subscriptions.asked, id=known.id, now_us=now_us))
            what = f"The subscription {known.id} cannot be asked for now"
            await self._try(known.provider, what, partial(following.look_again, self._cashier, known))
        if len(due) < BATCH:  # otherwise there are more, after the news that came meanwhile
            self._renewed_us = now_us
        return len(due)

    async def _end_outdone(self) -> int:
        """Keep what a newer plan has taken the place of from being renewed."""
        ledger, now_us = self._cashier.books.ledger, self._clock()
        paid, renewed = following.RENEWED, following.PAID_FOR
        due = await ledger.read(lambda tx: subscriptions.outdone(tx, paid, renewed, BATCH))
        for known in due:
            await ledger.write(partial(subscriptions.asked, id=known.id, now_us=now_us))
            what = f"The subscription {known.id}, which a newer one took the place of, cannot be ended now"
            await self._try(known.provider, what, partial(following.end_outdone, self._cashier, known))
        return len(due)

    async def _forget(self, now_us: int) -> int:
        """Let go of what old news says of people, some of it in each round."""
        ledger, before_us = self._cashier.books.ledger, now_us - KEEP_NEWS_US
        gone = await ledger.write(partial(inbox.forget, before_us=before_us, limit=FORGET_AT_ONCE))
        if gone < FORGET_AT_ONCE:
            self._forgot_us = now_us
        return gone

    async def _fetch(self) -> int:
        found = [
            await self._try(
                each.name, f"The news of {each.name} cannot be fetched now", partial(self._inbox.fetch, each)
            )
            for each in self._cashier.providers.all
        ]
        return sum(new or 0 for new in found)

    async def _try(self, provider: str, what: str, asking: Callable[[], Awaitable[T]]) -> T | None:
        """Ask, unless the provider is away or wants to be left alone; None where there is no answer."""
        if provider in self._away or self._asking.left_us(provider):
            return None
        try:
            return await asking()
        except StoreUnavailable:
            raise
        except MetergateError as error:
            log.info("%s: %s", what, error)  # an outage is told by its alarm
            if isinstance(error, (TryAgain, UnknownOutcome)):
                self._away.add(provider)
            return None
        except Exception:  # an answer that nobody understands must not keep the others waiting
            log.exception("%s.", what)
            return None
