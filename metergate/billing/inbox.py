"""News of providers: proven, kept, and only then answered; handled later, in any order and number.

An event is a hint. What it is about is asked of the provider, and what the provider says is matched against
our own order. What does not match is refused, and stays visible.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from metergate import alarms
from metergate.alarms import Told
from metergate.billing import following
from metergate.billing.cashier import Cashier
from metergate.billing.following import Handled
from metergate.billing.providers import Opened, able
from metergate.errors import InvalidInput, ProviderError, StoreUnavailable
from metergate.ledger import inbox, payments, provider_notes
from metergate.ledger.database import Tx
from metergate.ledger.inbox import DEAD, DONE, IGNORED, REFUSED, Arrived, EventRow
from metergate.provider_port import (
    INVOICE,
    PAYMENT,
    SUBSCRIPTION,
    USAGE,
    EventPage,
    Feed,
    Forged,
    Lookups,
    Misconfigured,
    PaymentFacts,
    ProviderEvent,
    TryAgain,
    UnknownOutcome,
    Webhooks,
)

log = logging.getLogger("metergate.billing")

Complain = Callable[[Opened, ProviderEvent], Awaitable[Handled]]
TRIES: Final = 12
"""How often news is tried that nobody understands."""
PATIENCE: Final = 90
"""How often a provider is asked that does not answer: once an hour in the end, for more than three days."""
FORGED_IN_A_ROW: Final = 10
CURSOR: Final = "cursor"
_KEPT: Final = ("content-type", "user-agent")
_FIRST_US: Final = 2 * 10**6
_LONGEST_US: Final = 3600 * 10**6


class Inbox:
    def __init__(self, cashier: Cashier) -> None:
        self.forged: dict[str, int] = {}
        """How much news of each provider was refused because it was not signed as it should be."""
        self.last_us: dict[str, int] = {}
        """When true news of each provider came last."""
        self._in_a_row: dict[str, int] = {}
        self._told = Told(log)
        self.complain: Complain | None = None
        """Who is told that usage could not be counted."""
        self._cashier = cashier
        self._clock = cashier.clock

    async def receive(self, name: str, headers: Mapping[str, str], body: bytes) -> int:
        """Keep what a provider tells; how many events are new. Returns after the commit."""
        opened = self._cashier.providers.find(name)
        if opened is None:
            raise InvalidInput(f"No payment provider {name:.40} tells us anything.", reason="not_found")
        reader = able(opened, Webhooks, "tell us anything")
        try:
            events = await reader.read_webhook(headers, body)
        except Forged:
            self.forged[opened.name] = self.forged.get(opened.name, 0) + 1
            self._judge(opened.name, self._in_a_row.get(opened.name, 0) + 1)
            raise
        self._judge(opened.name, 0)
        kept = {header: value for header, value in headers.items() if _matters(header)}
        arrived = [_arrived(opened.name, event) for event in events]
        now_us = self.last_us[opened.name] = self._clock()
        return await self._cashier.books.ledger.write(
            lambda tx: inbox.receive(tx, arrived, kept, body, now_us)
        )

    def _judge(self, name: str, in_a_row: int) -> None:
        """Strangers forge now and then; when nothing else comes any more, the secret is the wrong one."""
        self._in_a_row[name] = in_a_row
        sentence = f"The last {in_a_row} webhooks of {name} were not signed as they should be."
        self._told.mind(alarms.NEWS_FORGED, in_a_row >= FORGED_IN_A_ROW, in_a_row > 0, sentence, name)

    async def fetch(self, opened: Opened) -> int:
        """Read a provider's feed from where it was left; the place is kept together with the events."""
        if not isinstance(opened.provider, Feed):
            return 0
        new, more = 0, True
        while more:
            cursor = await self._cashier.books.ledger.read(
                lambda tx: provider_notes.read(tx, opened.name, CURSOR)
            )
            page = await self._cashier.asking.of(opened.name, opened.provider.events_after(cursor or ""))
            new += await self._keep_page(opened.name, page)
            more = page.more and page.cursor != cursor
        return new

    async def handle_some(self, limit: int = 20) -> int:
        """Handle the oldest events of each provider that wait; how many there were."""
        due = await self._cashier.books.ledger.read(lambda tx: inbox.waiting(tx, self._clock()))
        return sum(await asyncio.gather(*(self._handle_of(provider, limit) for provider in due)))

    async def _handle_of(self, provider: str, limit: int) -> int:
        """One after the other. Where there is no answer the others wait; each provider has its own turn."""
        ledger = self._cashier.books.ledger
        rows = await ledger.write(lambda tx: inbox.take(tx, provider, self._clock(), limit))
        answers = True
        for row in rows:
            left_us = max(self._cashier.asking.left_us(provider), 0 if answers else _FIRST_US)
            if left_us:
                await self._wait(row, left_us)
            else:
                answers = await self._handle(row)
        return len(rows)

    async def _keep_page(self, name: str, page: EventPage) -> int:
        arrived = [_arrived(name, event) for event in page.events]

        def work(tx: Tx) -> int:
            new = inbox.receive(tx, arrived, {}, b"", self._clock())
            provider_notes.write(tx, name, CURSOR, page.cursor)
            return new

        return await self._cashier.books.ledger.write(work)

    async def _handle(self, row: EventRow) -> bool:
        """Whether the provider answered, whatever came of it."""
        ledger = self._cashier.books.ledger
        try:
            handled = await self._understand(row)
        except (TryAgain, UnknownOutcome, Misconfigured, StoreUnavailable) as error:
            await self._put_off(row, str(error), PATIENCE)
            return False
        except ProviderError as error:
            await self._put_off(row, str(error))
        except Exception as error:  # an event that nobody understands must not stop the others
            log.exception("The event %s of %s could not be handled.", row.event_id, row.provider)
            await self._put_off(row, f"It could not be handled: {error!r:.300}")
        else:
            now_us = self._clock()
            await ledger.write(lambda tx: inbox.finish(tx, row.seq, handled.state, handled.detail, now_us))
        return True

    async def _put_off(self, row: EventRow, why: str, most: int = TRIES) -> None:
        now_us, tries = self._clock(), row.tries + 1
        wait_us = min(_FIRST_US * 2 ** min(tries, 20), _LONGEST_US)
        wait_us = max(wait_us, self._cashier.asking.left_us(row.provider))

        def work(tx: Tx) -> None:
            if tries >= most:
                inbox.finish(tx, row.seq, DEAD, why, now_us)
            else:
                inbox.put_off(tx, row.seq, why, now_us + wait_us, tries)

        await self._cashier.books.ledger.write(work)

    async def _wait(self, row: EventRow, left_us: int) -> None:
        """The provider is away, or wants to be left alone: then it is not asked, and this is no try."""
        why, until_us = f"{row.provider} does not answer now.", self._clock() + left_us
        await self._cashier.books.ledger.write(
            lambda tx: inbox.put_off(tx, row.seq, why, until_us, row.tries)
        )

    async def _understand(self, row: EventRow) -> Handled:
        event = msgspec.json.decode(row.event, type=ProviderEvent)
        opened = self._cashier.providers.find(row.provider)
        if opened is None:
            raise ProviderError(f"The policy has no payment provider {row.provider} any more.")
        if event.live != opened.provider.live:
            ours = "live" if opened.provider.live else "test"
            return Handled(REFUSED, f"It is not of {ours} mode, in which {opened.name} is used.")
        if event.objection:
            return Handled(REFUSED, event.objection)
        if event.kind == PAYMENT:
            return await self._payment(opened, event)
        if event.kind == SUBSCRIPTION:
            return await following.subscription(self._cashier, opened, event)
        if event.kind == INVOICE:
            return await following.invoice(self._cashier, opened, event)
        if event.kind == USAGE and self.complain is not None:
            return await self.complain(opened, event)
        return Handled(IGNORED, "Nothing follows from it.")

    async def _payment(self, opened: Opened, event: ProviderEvent) -> Handled:
        facts, said_us = event.payment, event.at_us
        if facts is None:
            said_us = self._clock()
            lookups = able(opened, Lookups, "be asked for payments")
            facts = await self._cashier.asking.of(opened.name, lookups.fetch_payment(event.object))
        if facts is None:
            return Handled(IGNORED, f"{opened.name} has no payment {event.object:.80}.")
        id = await self._ours(opened.name, event, facts)
        if not id:
            return Handled(IGNORED, f"It is about no payment of ours. {facts.reason}".rstrip())
        payment = (await self._cashier.settled(id, facts, said_us)).payment
        if payment.mismatch:
            return Handled(REFUSED, f"{id}: {payment.mismatch}")
        over = payment.paid_minor - payment.minor
        return Handled(DONE, f"{id}: {over} more was paid than was asked for" if over > 0 else id)

    async def _ours(self, provider: str, event: ProviderEvent, facts: PaymentFacts) -> str:
        """The id of our payment; an order of ours that another provider was asked for is none."""
        names = [name for name in (facts.id, event.object) if name]

        def look(tx: Tx) -> str:
            for order in (facts.order, event.order):
                known = payments.get(tx, order) if order else None
                if known is not None and known.provider == provider:
                    return known.id
            found = [known for name in names if (known := payments.named(tx, provider, name))]
            return found[0].id if found else ""

        return await self._cashier.books.ledger.read(look)


def _matters(header: str) -> bool:
    return header in _KEPT or "signature" in header or header.startswith(("paypal-", "x-square-"))


def _arrived(provider: str, event: ProviderEvent) -> Arrived:
    told = msgspec.json.encode(event).decode()
    return Arrived(provider, event.id, event.type, told, event.at_us)
