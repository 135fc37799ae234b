"""What the worker does for money in: news that waits, payments that nobody has finished, feeds."""

import logging
from typing import Final

from metergate.billing import following, refunding
from metergate.billing.cashier import Cashier
from metergate.billing.inbox import Inbox
from metergate.billing.settling import next_look_us
from metergate.errors import MetergateError, ProviderError, StoreUnavailable
from metergate.ledger import payments, reversals, subscriptions
from metergate.ledger.payments import Payment
from metergate.ledger.reversals import Refund
from metergate.ports import Clock

log = logging.getLogger("metergate.billing")

BATCH: Final = 20
LOOK_EVERY_US: Final = 2 * 10**6
FEED_EVERY_US: Final = 15 * 10**6
RENEWALS_EVERY_US: Final = 3600 * 10**6
MINUTE_US: Final = 60 * 10**6


class Rounds:
    def __init__(self, cashier: Cashier, inbox: Inbox, clock: Clock) -> None:
        self._cashier = cashier
        self._inbox = inbox
        self._clock = clock
        self._looked_us = 0
        self._fetched_us = 0
        self._renewed_us = 0

    async def run_once(self) -> int:
        """One round; how much there was to do. A provider that is away stops nothing but itself."""
        if not self._cashier.providers:
            return 0
        done = await self._inbox.handle_some(BATCH)
        now_us = self._clock()
        if abs(now_us - self._looked_us) >= LOOK_EVERY_US:
            self._looked_us = now_us
            done += await self._look()
        if abs(now_us - self._fetched_us) >= FEED_EVERY_US:
            self._fetched_us = now_us
            done += await self._fetch()
        if abs(now_us - self._renewed_us) >= RENEWALS_EVERY_US:
            self._renewed_us = now_us
            await self._renewals()
        return done

    async def _look(self) -> int:
        """Ask for payments and refunds of which nobody knows the end."""
        ledger, now_us = self._cashier.books.ledger, self._clock()
        due = await ledger.read(lambda tx: payments.due(tx, now_us, BATCH))
        for payment in due:
            await self._put_off(payment)
            try:
                await self._cashier.verify(payment.id)
            except StoreUnavailable:
                raise
            except MetergateError as error:
                log.info("The payment %s cannot be asked for now: %s", payment.id, error)
        refunds = await ledger.read(lambda tx: reversals.due(tx, now_us, BATCH))
        for refund in refunds:
            await self._refund(refund)
        return len(due) + len(refunds)

    async def _refund(self, refund: Refund) -> None:
        later = self._clock() + 10 * MINUTE_US
        await self._cashier.books.ledger.write(
            lambda tx: reversals.change_refund(tx, refund.id, look_at_us=later)
        )
        try:
            await refunding.send(self._cashier, refund)
        except StoreUnavailable:
            raise
        except MetergateError as error:
            log.warning("The refund %s is not done yet: %s", refund.id, error)

    async def _put_off(self, payment: Payment) -> None:
        """Whatever becomes of the question, the next one has its time: no payment holds up the others."""
        look_at_us = next_look_us(payment, self._clock())
        await self._cashier.books.ledger.write(
            lambda tx: payments.change(tx, payment.id, look_at_us=look_at_us)
        )

    async def _renewals(self) -> None:
        """Ask for subscriptions that should have been renewed an hour ago, and of which nobody told us."""
        before_us = self._clock() - RENEWALS_EVERY_US
        due = await self._cashier.books.ledger.read(lambda tx: subscriptions.over(tx, before_us, BATCH))
        for known in due:
            try:
                await following.look_again(self._cashier, known)
            except ProviderError as error:
                log.warning("The subscription %s cannot be asked for now: %s", known.id, error)

    async def _fetch(self) -> int:
        done = 0
        for opened in self._cashier.providers.all:
            try:
                done += await self._inbox.fetch(opened)
            except ProviderError as error:
                log.warning("The news of %s cannot be fetched now: %s", opened.name, error)
        return done
