"""What goes wrong at a provider, and what may be done then: docs/providers.md has the table."""

from metergate.errors import PaymentFailed, ProviderError


class Declined(PaymentFailed):
    """The bank or the provider said no. Never sent again as it is; another method helps."""

    reason = "payment_declined"


class NeedsAction(PaymentFailed):
    """The payer has to do something first, at `url`. The same payment goes on there."""

    reason = "payment_needs_action"

    def __init__(self, message: str, url: str = "") -> None:
        super().__init__(message)
        self.url = url


class TryAgain(ProviderError):
    """Surely nothing was done. The same operation, with the same id, may be sent again later."""

    reason = "provider_busy"

    def __init__(self, message: str, after_s: float = 0) -> None:
        super().__init__(message)
        self.after_s = after_s


class Misconfigured(ProviderError):
    """The provider refuses what we are or what we ask. Nothing is sent again before an operator acts."""

    reason = "provider_misconfigured"


class UnknownOutcome(ProviderError):
    """It was sent, and nobody knows what became of it: ask for it by our id before anything else."""

    reason = "provider_outcome_unknown"


class Forged(ProviderError):
    """News that the provider did not sign, or signed too long ago. It is refused and changes nothing."""

    reason = "webhook_forged"
