"""The payment providers of a policy at work on a foundation: opened, kept in step with it, and closed."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from metergate.admin import Office
from metergate.billing import (
    Addresses,
    Alerts,
    Cashier,
    Counted,
    Inbox,
    Opened,
    Providers,
    Pusher,
    Rounds,
    Rule,
    Till,
    TopUps,
)
from metergate.billing.providers import LedgerNotes
from metergate.billing.watching import Numbers, WatchingPushes
from metergate.config.plugins import load_adapter
from metergate.config.settings import Settings
from metergate.core.policy import Policy, ProviderChoice
from metergate.errors import MetergateError
from metergate.foundation import Foundation
from metergate.notices import Courier
from metergate.ports import Clock
from metergate.provider_port import Context, Notes
from metergate.provider_port.http import ask

log = logging.getLogger("metergate.billing")

PAUSE_S: Final = 1.0
"""Between two rounds, unless somebody has just told us something."""


class MoneyIn:
    """Everything that has to do with payments, of one engine."""

    def __init__(self, at_work: Foundation, settings: Settings, policy: Policy) -> None:
        self._at_work = at_work
        self._settings = settings
        self._choices: Sequence[ProviderChoice] = ()
        self._closing: set[asyncio.Future[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self.providers = Providers()
        self.policy = policy
        self.use(policy)
        clock = at_work.clock
        self._cashier = Cashier(
            lambda: self._office.desk,
            lambda: self.providers,
            clock,
            shared=at_work.shared is not None,
            brakes=lambda: self.policy.brakes,
        )
        self.inbox = Inbox(self._cashier)
        self._rounds = Rounds(self._cashier, self.inbox)
        self._top_ups = TopUps(self._cashier, lambda: self.policy)
        self._alerts = Alerts(lambda: at_work.ledger, lambda: self.policy, clock)
        self.courier = Courier(
            lambda: at_work.ledger, lambda: at_work.peppers, lambda: self.policy.private_networks, clock
        )
        self.pusher = Pusher(
            lambda: at_work.ledger,
            self._counted,
            at_work.worker.flusher.posted_until,
            clock,
            settings.push_every_us,
            alone=at_work.shared is None,
        )
        self._pushes = WatchingPushes(self.pusher)
        self.inbox.complain = self.pusher.complain
        self.till = Till(
            self._cashier, self.inbox, lambda: self.policy, self._addresses, self.told, self.pusher
        )

    def begin(self, office: Office) -> None:
        """Look after payments, on the books of this office."""
        self._office = office
        if self._settings.worker:
            begin = asyncio.get_running_loop().create_task
            self._tasks = [
                begin(self._run(), name="metergate-billing"),
                begin(_again("Usage for providers waits", self._push), name="metergate-push"),
                begin(_again("Top-ups wait", self._top_ups.run_once), name="metergate-top-ups"),
                begin(_again("Alerts wait", self._alerts.run_once), name="metergate-alerts"),
                begin(_again("Notices wait", self.courier.begin_turns), name="metergate-notices"),
            ]

    def use(self, policy: Policy) -> None:
        """Open the providers of a policy, unless they are those that are open."""
        choices = policy.providers
        if choices == self._choices:
            self.policy = policy
            return
        open_now = [self._open(choice, policy) for choice in choices]
        self.policy = policy
        rules = [Rule(choice.name, choice.when) for choice in choices if choice.chosen]
        before, self.providers, self._choices = self.providers, Providers(open_now, rules), choices
        self._close(before)

    async def receive(self, name: str, headers: Mapping[str, str], body: bytes) -> int:
        """Keep what a provider tells us, and look at it soon."""
        new = await self.inbox.receive(name, headers, body)
        self.told()
        return new

    def numbers(self) -> Numbers:
        """What metrics say of money in."""
        paying = {**self._rounds.watching.numbers(), **self._pushes.numbers(self.till.drift)}
        return {**paying, **self._top_ups.numbers(), **self.courier.numbers()}

    def told(self) -> None:
        """News has come: look at it now."""
        self._news.set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self.courier.stop()
        self._close(self.providers)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _counted(self) -> Counted:
        """Whose usage is told to whom."""
        meters = frozenset({meter.name for meter in self.policy.meters.values() if meter.push})
        return Counted(self.providers, meters, self._settings.push_window_us)

    def _addresses(self) -> Addresses:
        settings = self._settings
        own = [url for url in (settings.frontend_url, settings.public_url) if url]
        return Addresses(settings.frontend_url, (*own, *self.policy.return_origins))

    def _open(self, choice: ProviderChoice, policy: Policy) -> Opened:
        notes = LedgerNotes(lambda: self._at_work.ledger, choice.name)
        return opened(choice, policy, self._settings, self._at_work.clock, notes)

    def _close(self, providers: Providers) -> None:
        for each in providers.all:
            closing = asyncio.ensure_future(each.provider.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            if not await _tried("Payments wait", self._rounds.run_once):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), PAUSE_S)

    async def _push(self) -> int:
        try:
            return await self.pusher.run_once()
        finally:
            self._pushes.look()  # also when it failed: that is when somebody has to hear of it


async def _again(what: str, one_round: Callable[[], Awaitable[int]]) -> None:
    """Each by itself: a provider that takes its time over one must not keep us from the others."""
    while True:
        await _tried(what, one_round)
        await asyncio.sleep(PAUSE_S)


async def _tried(what: str, one_round: Callable[[], Awaitable[int]]) -> int:
    """One round, which may fail: the next one goes on."""
    try:
        return await one_round()
    except MetergateError as error:
        log.warning("%s until the next round: %s", what, error)
    except Exception:  # a mistake in one round must not end them all
        log.exception("%s: a round failed and is tried again.", what)
    return 0


def opened(choice: ProviderChoice, policy: Policy, settings: Settings, clock: Clock, notes: Notes) -> Opened:
    """A provider as the policy and the environment want it; it is asked nothing yet."""
    adapter = load_adapter(choice.use, policy.enabled)
    context = Context(
        name=choice.name,
        clock=clock,
        http=ask,
        notes=notes,
        settings={**settings.environ, **choice.settings},
        options=choice.options,
        webhook_url=webhook_url(choice.name, policy, settings),
    )
    return Opened(choice.name, adapter.open_provider(context), choice.use)


def webhook_url(name: str, policy: Policy, settings: Settings) -> str:
    """Where a provider reaches us; empty where nobody has said under which address."""
    prefix, billing = settings.public_url, policy.billing
    return f"{prefix}{billing}/v1/webhooks/{name}" if prefix and billing else ""


def choices_of(policy: Policy, settings: Settings) -> tuple[ProviderChoice, ...]:
    """The providers that are to be opened: the environment's goes before the policy's."""
    if not settings.provider:
        return policy.providers
    named = [choice for choice in policy.providers if choice.use == settings.provider]
    given = named[0] if named else ProviderChoice(settings.provider, settings.provider)
    return (given._replace(name=settings.provider, when={}, chosen=True),)
