"""Whatever goes wrong leaves as one `application/problem+json` object, the same as a refusal of the gate."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from metergate import errors
from metergate.admin import NotFound, OwnerUnavailable
from metergate.core import refusal as refusals
from metergate.core.policy import Policy
from metergate.core.refusal import REASONS, US, Refusal
from metergate.errors import MetergateError
from metergate.ledger import Conflict

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
KINDS: Final = {401: "authentication_error", 403: "permission_error"}

STATUSES: Final[Mapping[type[MetergateError], tuple[int, str]]] = {
    NotFound: (404, "Not found"),
    Conflict: (409, "Conflict"),
    errors.InvalidInput: (400, "Not acceptable as it is"),
    errors.PaymentRequired: (402, "Payment required"),
    errors.PaymentFailed: (402, "Payment failed"),
    errors.FeatureNotAvailable: (403, "Not in the plan"),
    errors.UsageLimitExceeded: (429, "Limit reached"),
    errors.StoreUnavailable: (503, "Not possible now"),
    OwnerUnavailable: (503, "Not possible now"),
    errors.ConfigurationError: (422, "The policy cannot be used"),
    errors.NoProvider: (404, "No payments here"),
    errors.ProviderError: (502, "The payment provider cannot be used"),
    MetergateError: (500, "Something went wrong"),
}
HTTP: Final[Mapping[int, tuple[str, str, str]]] = {
    401: ("unauthorized", "No valid token", "Send the admin token as 'Authorization: Bearer …'."),
    404: ("not_found", "Not found", "There is nothing at this path; see the API's description."),
    405: ("method_not_allowed", "Method not allowed", "Use one of the methods in the Allow header."),
    413: ("body_too_large", "Body too large", "Send at most 1 MB; split a large batch."),
    421: (
        "misdirected",
        "Not under this name",
        "Ask by an address or localhost, or name this host in METERGATE_ADMIN_HOSTS.",
    ),
    429: (
        "too_many_guesses",
        "Too many wrong tokens",
        "Wait as Retry-After says, then send the right token.",
    ),
    415: ("unsupported_media_type", "Not JSON", "Send JSON with 'Content-Type: application/json'."),
    500: ("internal_error", "Something went wrong", "Try again; the operator finds the cause in the log."),
}


class Unfit(errors.InvalidInput):
    """A body whose fields are not what they have to be; one sentence for each."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        super().__init__(" ".join(sentence for _, sentence in fields[:5]))
        self.fields = fields


def of_error(
    error: MetergateError,
    *,
    request_id: str = "",
    currency: str = "USD",
    top_up_url: str = "",
    anthropic: bool = False,
) -> Response:
    if error.reason in REASONS:
        found = error.refusal or _refusal(error)
        return of_refusal(
            found, request_id=request_id, currency=currency, top_up_url=top_up_url, anthropic=anthropic
        )
    status, title = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    extra: dict[str, Any] = {}
    if isinstance(error, Unfit):
        extra["errors"] = [{"field": field, "message": sentence} for field, sentence in error.fields]
    headers = {}
    if error.after_s > 0:
        headers["retry-after"] = str(ceil(error.after_s))
    return _response(
        status,
        error.reason,
        title,
        str(error),
        request_id=request_id,
        anthropic=anthropic,
        headers=headers,
        extra=extra,
    )


def _refusal(error: MetergateError) -> Refusal:
    """What a refusal says of an error that was raised without one."""
    found = Refusal(error.reason, str(error))
    return found._replace(retry_after_us=RETRY_AFTER_S * US) if found.status == 503 else found


def for_caller(error: MetergateError, request: Request, policy: Policy, request_id: str = "") -> Response:
    """What the gate would answer, in the caller's dialect and with the policy's way to pay."""
    return of_error(
        error,
        request_id=request_id,
        currency=policy.currency,
        top_up_url=policy.payment_url,
        anthropic=speaks_anthropic(request),
    )


def of_refusal(
    refusal: Refusal,
    *,
    request_id: str = "",
    currency: str = "USD",
    top_up_url: str = "",
    anthropic: bool = False,
) -> Response:
    """The refusal of the gate, as the gate itself would send it."""
    told = refusals.body(refusal, request_id, currency=currency, top_up_url=top_up_url, anthropic=anthropic)
    headers = {
        name.decode(): value.decode("latin-1")
        for name, value in refusals.headers(refusal, top_up_url=top_up_url)
        if name != b"content-type"
    }
    if request_id:
        headers["metergate-request-id"] = request_id
    return JSONResponse(told, refusal.status, headers, MEDIA_TYPE)


def of_status(
    status: int, headers: Mapping[str, str] | None = None, *, request_id: str = "", anthropic: bool = False
) -> Response:
    reason, title, detail = HTTP.get(status, ("http_error", "Not possible", "See the API's description."))
    return _response(
        status, reason, title, detail, request_id=request_id, anthropic=anthropic, headers=headers
    )


def _response(
    status: int,
    reason: str,
    title: str,
    detail: str,
    *,
    request_id: str,
    anthropic: bool,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> Response:
    kind = KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    told = {
        "type": "error" if anthropic else f"urn:metergate:reason:{reason}",
        "title": title,
        "status": status,
        "detail": detail,
        "reason": reason,
        **(extra or {}),
        **({"request_id": request_id} if request_id else {}),
        "error": {"message": detail, "type": kind, "code": reason, "param": None},
    }
    found = {"cache-control": "no-store", **(headers or {})}
    if status == 503:
        found["retry-after"] = str(RETRY_AFTER_S)
    return JSONResponse(told, status, found, MEDIA_TYPE)


def speaks_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers


async def on_metergate_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MetergateError)
    return of_error(error, anthropic=speaks_anthropic(request))


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return of_status(error.status_code, error.headers, anthropic=speaks_anthropic(request))


async def on_any_error(request: Request, _error: Exception) -> Response:
    """Nobody outside sees a stack trace; the server logs it."""
    return of_status(500, anthropic=speaks_anthropic(request))


HANDLERS: Final = {
    MetergateError: on_metergate_error,
    HTTPException: on_http_exception,
    Exception: on_any_error,
}
