"""What the SDK raises, as what may be done next."""

from collections.abc import AsyncIterator, Awaitable
from typing import Final, TypeVar

import stripe
from stripe import ListObject, StripeObject

from metergate.errors import ProviderError
from metergate.provider_port import Answer, Declined, Misconfigured, TryAgain, UnknownOutcome

T = TypeVar("T")
Listed = TypeVar("Listed", bound=StripeObject)

BUSY_S: Final = 1.0
"""How long to leave Stripe alone that says it is busy and not for how long."""
CONFIRM: Final = frozenset({
    "authentication_required",
    "invoice_payment_intent_requires_action",
    "payment_intent_action_required",
    "subscription_payment_intent_requires_action",
})  # fmt: skip
"""What Stripe calls it when a bank wants to hear from its customer."""


class Missing(Misconfigured):
    """Stripe has nothing of this name."""


class CardDeclined(Declined):
    def __init__(self, message: str, code: str, intent: str) -> None:
        super().__init__(message)
        self.code = code
        self.intent = intent
        """The payment that it was tried for."""


async def ask(wanted: Awaitable[T]) -> T:
    """The answer of the SDK, or one of the port's errors."""
    try:
        return await wanted
    except stripe.StripeError as error:
        raise outcome_of(error) from error


async def maybe(wanted: Awaitable[T]) -> T | None:
    """The answer of the SDK, or None where Stripe has nothing of this name."""
    try:
        return await ask(wanted)
    except Missing:
        return None


def outcome_of(error: stripe.StripeError) -> ProviderError | Declined:
    said = f"Stripe says: {error.user_message or error}"
    status = error.http_status
    if isinstance(error, stripe.RateLimitError):
        return TryAgain(said, Answer(429, error.headers or {}, b"").after_s or BUSY_S)
    if isinstance(error, stripe.CardError):
        intent = error.error.payment_intent if error.error is not None else None
        return CardDeclined(str(error.user_message or error), error.code or "", intent.id if intent else "")
    if isinstance(error, stripe.IdempotencyError) or status == 409:
        # It was asked for before, in other words, or at this instant: what it came to is there to be found.
        return UnknownOutcome(said)
    if status == 404 or error.code == "resource_missing":
        return Missing(said)
    if status is not None and 400 <= status < 500:
        return Misconfigured(said)
    return UnknownOutcome(said)


async def every(page: ListObject[Listed]) -> AsyncIterator[Listed]:
    """What is on this page of a list and on those behind it."""
    while True:
        for each in page.data:
            yield each
        if not page.has_more:
            return
        page = await ask(page.next_page_async())
