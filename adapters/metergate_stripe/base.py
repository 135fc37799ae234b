"""What all parts of the adapter stand on: the SDK's client, our names at Stripe, and what keys repeat."""

import hashlib
from typing import Final, Protocol

import stripe
from stripe import RequestOptions, StripeClient, StripeObject

from metergate.errors import ProviderError
from metergate.provider_port import Context, Money, Order, ProviderHealth
from metergate_stripe import money
from metergate_stripe.outcomes import ask
from metergate_stripe.settings import StripeSettings
from metergate_stripe.wire import Wire

ALL: Final = 100
"""How much Stripe tells in a page of a list."""
LAG_S: Final = 3600
"""How far Stripe's search may be behind; what is younger is looked through in its lists, which are not."""
_KEY_MAX: Final = 255


class HasId(Protocol):
    @property
    def id(self) -> str: ...


class Base:
    def __init__(self, context: Context, settings: StripeSettings) -> None:
        self.context = context
        self.settings = settings
        self.wire = Wire()
        base = settings.base
        self.client = StripeClient(
            settings.key,
            stripe_account=settings.account or None,
            base_addresses={"api": base, "connect": base, "files": base, "meter_events": base}
            if base != stripe.DEFAULT_API_BASE
            else {},
            http_client=self.wire,
            max_network_retries=0,
        )
        self.api = self.client.v1

    @property
    def live(self) -> bool:
        return self.settings.live

    async def health(self) -> ProviderHealth:
        try:
            account = await ask(self.api.accounts.retrieve_current_async())
        except ProviderError as error:
            return ProviderHealth(ok=False, detail=str(error))
        mode = "live" if self.live else "test"
        return ProviderHealth(ok=True, detail=f"{mode} mode, account {account.id}")

    async def close(self) -> None:
        await self.wire.close_async()

    def objection(self, amount: Money) -> str:
        return money.objection(amount)

    def named(self, what: str) -> str:
        """The name in Stripe's metadata under which we keep an id of ours."""
        return f"{self.settings.space}_{what}"

    def once(self, what: str, id: str) -> RequestOptions:
        """The same id again is the same operation, for a day at least."""
        key = f"{self.settings.space}-{what}-{id}"
        if len(key) > _KEY_MAX or not key.isascii():
            key = f"{self.settings.space}-{hashlib.sha256(key.encode()).hexdigest()}"
        return {"idempotency_key": key}

    def marks(self, order: Order) -> dict[str, str]:
        return {self.named("order"): order.id, self.named("account"): order.payer.account}

    def mark(self, metadata: object, what: str) -> str:
        """An id of ours, as Stripe's object carries it; empty where it has none."""
        value = getattr(metadata, self.named(what), None) if isinstance(metadata, StripeObject) else None
        return value if isinstance(value, str) else ""

    def where(self, what: str, value: str) -> str:
        """A question in Stripe's search language."""
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"metadata['{self.named(what)}']:'{quoted}'"

    def now_s(self) -> int:
        return self.context.clock() // 10**6


def said(about: object, name: str) -> str:
    """A text that Stripe leaves out where it has none: the parts of errors, and who pays an invoice."""
    value = getattr(about, name, None)
    return value if isinstance(value, str) else ""


def id_of(reference: str | HasId | None) -> str:
    """The id of what Stripe may have written out."""
    if reference is None:
        return ""
    return reference if isinstance(reference, str) else reference.id
