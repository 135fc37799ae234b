"""What goes wrong with an upstream, each as the refusal that the client is told."""

from metergate.core.refusal import Refusal
from metergate.errors import MetergateError


class UpstreamError(MetergateError):
    """The upstream gave no whole answer."""

    def __init__(self, reason: str, detail: str = "", *, retry_after_us: int = 0) -> None:
        refusal = Refusal(reason, retry_after_us=retry_after_us)
        super().__init__(detail or refusal.sentence, reason=reason, refusal=refusal)


class BadRequestError(MetergateError):
    """The request cannot be forwarded byte for byte as the policy saw it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="bad_request", refusal=Refusal("bad_request", detail))


def busy() -> UpstreamError:
    return UpstreamError("upstream_busy", retry_after_us=10**6)


def unreachable(detail: str) -> UpstreamError:
    return UpstreamError("upstream_unreachable", detail)


def invalid(detail: str) -> UpstreamError:
    return UpstreamError("upstream_invalid", detail)


def too_slow(detail: str) -> UpstreamError:
    return UpstreamError("upstream_timeout", detail)
