"""The payment providers of a policy at work on a foundation: opened, kept in step with it, and closed."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from metergate.admin import Office
from metergate.billing import Addresses, Cashier, Inbox, Opened, Providers, Rounds, Rule, Till
from metergate.billing.providers import LedgerNotes
from metergate.billing.watching import Numbers
from metergate.config.plugins import load_adapter
from metergate.config.settings import Settings
from metergate.core.policy import Policy, ProviderChoice
from metergate.errors import MetergateError
from metergate.foundation import Foundation
from metergate.notices import Courier
from metergate.provider_port import Context
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
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.providers = Providers()
        self.policy = policy
        self.use(policy)
        clock = at_work.clock
        self._cashier = Cashier(
            lambda: self._office.desk, lambda: self.providers, clock, shared=at_work.shared is not None
        )
        self.inbox = Inbox(self._cashier)
        self._rounds = Rounds(self._cashier, self.inbox)
        self.courier = Courier(
            lambda: at_work.ledger, lambda: at_work.peppers, lambda: self.policy.private_networks, clock
        )
        self.till = Till(self._cashier, self.inbox, lambda: self.policy, self._addresses, self.told)

    def begin(self, office: Office) -> None:
        """Look after payments, on the books of this office."""
        self._office = office
        if self._settings.worker:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="metergate-billing")
            self.courier.start()

    def use(self, policy: Policy) -> None:
        """Open the providers of a policy, unless they are those that are open."""
        choices = policy.providers
        if choices == self._choices:
            self.policy = policy
            return
        opened = [self._open(choice, policy) for choice in choices]
        self.policy = policy
        rules = [Rule(choice.name, choice.when) for choice in choices if choice.chosen]
        before, self.providers, self._choices = self.providers, Providers(opened, rules), choices
        self._close(before)

    async def receive(self, name: str, headers: Mapping[str, str], body: bytes) -> int:
        """Keep what a provider tells us, and look at it soon."""
        new = await self.inbox.receive(name, headers, body)
        self.told()
        return new

    def numbers(self) -> Numbers:
        """What metrics say of money in."""
        return self._rounds.watching.numbers()

    def told(self) -> None:
        """News has come: look at it now."""
        self._news.set()

    async def stop(self) -> None:
        await self.courier.stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._close(self.providers)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _webhook_url(self, name: str, policy: Policy) -> str:
        """Where a provider reaches us; empty where nobody has said under which address."""
        prefix, billing = self._settings.public_url, policy.billing
        return f"{prefix}{billing}/v1/webhooks/{name}" if prefix and billing else ""

    def _addresses(self) -> Addresses:
        settings = self._settings
        own = [url for url in (settings.frontend_url, settings.public_url) if url]
        return Addresses(settings.frontend_url, (*own, *self.policy.return_origins))

    def _open(self, choice: ProviderChoice, policy: Policy) -> Opened:
        adapter = load_adapter(choice.use, policy.enabled)
        context = Context(
            name=choice.name,
            clock=self._at_work.clock,
            http=ask,
            notes=LedgerNotes(lambda: self._at_work.ledger, choice.name),
            settings={**self._settings.environ, **choice.settings},
            options=choice.options,
            webhook_url=self._webhook_url(choice.name, policy),
        )
        return Opened(choice.name, adapter.open_provider(context), choice.use)

    def _close(self, providers: Providers) -> None:
        for opened in providers.all:
            closing = asyncio.ensure_future(opened.provider.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                busy = await self._rounds.run_once()
            except MetergateError as error:
                log.warning("Payments wait and are tried again: %s", error)
                busy = 0
            except Exception:  # a mistake in one round must not end them all
                log.exception("A round of payments failed and is tried again.")
                busy = 0
            if not busy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), PAUSE_S)


def choices_of(policy: Policy, settings: Settings) -> tuple[ProviderChoice, ...]:
    """The providers that are to be opened: the environment's goes before the policy's."""
    if not settings.provider:
        return policy.providers
    named = [choice for choice in policy.providers if choice.use == settings.provider]
    given = named[0] if named else ProviderChoice(settings.provider, settings.provider)
    return (given._replace(name=settings.provider, when={}, chosen=True),)
