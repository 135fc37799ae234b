"""The exceptions that users of the Python side meet. Each says what happened and what helps."""

from metergate.core.refusal import Refusal


class MetergateError(Exception):
    """What all of them have in common: a stable reason, and one sentence that says what to do."""

    reason = "error"
    after_s: float = 0
    """After how many seconds the same may help; 0 where time alone does not, or nobody knows."""

    def __init__(self, message: str, *, reason: str = "", refusal: Refusal | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.reason
        self.refusal = refusal


class PaymentRequired(MetergateError):
    """The account's credits do not cover the call; a top-up helps."""

    reason = "insufficient_credits"


class PaymentFailed(MetergateError):
    """The payment provider declined; another payment method helps."""

    reason = "payment_failed"


class FeatureNotAvailable(MetergateError):
    """The plan does not contain the feature; another plan helps."""

    reason = "feature_not_in_plan"


class UsageLimitExceeded(MetergateError):
    """A rate, a quota or a cap is used up; waiting until it resets helps."""

    reason = "quota_exceeded"


class InvalidInput(MetergateError, ValueError):
    """A value cannot be accepted; nothing was changed."""

    reason = "invalid_input"


class ProviderError(MetergateError):
    """The payment provider cannot be used; the message says why."""

    reason = "provider_error"


class NoProvider(ProviderError):
    """Nobody takes payments here: the policy names no provider."""

    reason = "no_provider"


class StoreUnavailable(MetergateError):
    """The counters or the ledger cannot be reached; trying again later helps."""

    reason = "store_unavailable"


class ConfigurationError(MetergateError):
    """The policy or a setting cannot work; the message says what to change."""

    reason = "configuration"


_BY_STATUS: dict[int, type[MetergateError]] = {
    402: PaymentRequired,
    403: FeatureNotAvailable,
    429: UsageLimitExceeded,
    503: StoreUnavailable,
}


def as_exception(refusal: Refusal) -> MetergateError:
    """A refusal, as the exception that says the same."""
    kind = _BY_STATUS.get(refusal.status, InvalidInput)
    return kind(refusal.sentence, reason=refusal.reason, refusal=refusal)
