"""Refusals as data: every reason with its status and what readers of three dialects are told.

The order of `REASONS` is the precedence among them: of all that is wrong with a request, the caller hears
of the first. Budgets are asked in the order of the draws of a hold, which follows the same order.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from metergate.core import limits
from metergate.core.limits import Standing
from metergate.core.money import as_json
from metergate.core.periods import rfc3339

US = 1_000_000
SDK_PATIENCE_S = 120
"""Official SDKs wait this long at most; when the cure is further away a retry only costs."""


class Reason(NamedTuple):
    status: int
    title: str
    openai: str
    anthropic: str
    help: str


REASONS: Mapping[str, Reason] = {
    "too_many_connections": Reason(
        429, "Too many connections", "rate_limit_exceeded", "rate_limit_error",
        "Close connections that you do not need before you open another.",
    ),
    "too_slow": Reason(
        408, "The request came too slowly", "invalid_request_error", "invalid_request_error",
        "Send the whole request without long pauses.",
    ),
    "url_too_long": Reason(
        414, "Address too long", "invalid_request_error", "invalid_request_error",
        "Send a shorter path and query.",
    ),
    "headers_too_large": Reason(
        431, "Headers too large", "invalid_request_error", "request_too_large",
        "Send fewer and shorter headers.",
    ),
    "bad_request": Reason(
        400, "The request cannot be read in one way", "invalid_request_error", "invalid_request_error",
        "Send a plain path and an ordinary method.",
    ),
    "two_keys": Reason(
        400, "More than one API key", "invalid_request_error", "invalid_request_error",
        "Send one API key, in one header.",
    ),
    "too_many_wrong_keys": Reason(
        429, "Too many wrong API keys", "rate_limit_exceeded", "rate_limit_error",
        "Unknown API keys came from your address again and again; wait, and check yours.",
    ),
    "key_missing": Reason(
        401, "No API key", "authentication_error", "authentication_error",
        "Send your API key as 'Authorization: Bearer mg_…' or in 'x-api-key'.",
    ),
    "key_invalid": Reason(
        401, "Unknown API key", "authentication_error", "authentication_error",
        "Check the API key; it may be mistyped or belong to another service.",
    ),
    "key_environment": Reason(
        401, "API key of another environment", "authentication_error", "authentication_error",
        "Use a live key with live services and a test key with test services.",
    ),
    "key_revoked": Reason(
        401, "Revoked API key", "authentication_error", "authentication_error",
        "This key was revoked; create a new one.",
    ),
    "key_expired": Reason(
        401, "Expired API key", "authentication_error", "authentication_error",
        "This key has expired; create a new one.",
    ),
    "key_elsewhere": Reason(
        403, "API key of another place", "permission_error", "permission_error",
        "This key may not be used from your address; use it where it is meant to be.",
    ),
    "account_suspended": Reason(
        403, "Account suspended", "permission_error", "permission_error",
        "The account is suspended; contact the operator.",
    ),
    "route_not_in_policy": Reason(
        403, "Not offered", "permission_error", "permission_error",
        "No rule of the policy offers this path; check method and path.",
    ),
    "scope_missing": Reason(
        403, "Key lacks the scope", "permission_error", "permission_error",
        "Use a key that has the scope of this route.",
    ),
    "feature_not_in_plan": Reason(
        403, "Not in the plan", "permission_error", "permission_error",
        "The account's plan does not contain this feature; choose a plan that does.",
    ),
    "no_price": Reason(
        403, "No price", "permission_error", "permission_error",
        "The account's plan neither includes this meter nor has a price for it; choose another plan.",
    ),
    "quantity_too_large": Reason(
        400, "More than can be charged at once", "invalid_request_error", "invalid_request_error",
        "Report a smaller quantity; what this one costs is beyond all money.",
    ),
    "bad_idempotency_key": Reason(
        400, "Unusable Idempotency-Key", "invalid_request_error", "invalid_request_error",
        "Send one Idempotency-Key of 1 to 255 printable ASCII characters.",
    ),
    "body_too_large": Reason(
        413, "Body too large", "invalid_request_error", "request_too_large",
        "Send a smaller body; together with an Idempotency-Key it may hold 1 MB at most.",
    ),
    "idempotency_mismatch": Reason(
        422, "Idempotency-Key used for another request", "invalid_request_error", "invalid_request_error",
        "Use a new Idempotency-Key for a new request.",
    ),
    "idempotency_running": Reason(
        409, "The same call is still running", "invalid_request_error", "invalid_request_error",
        "Wait until the first call with this Idempotency-Key has ended, then ask again.",
    ),
    "idempotency_done": Reason(
        409, "The call was done before", "invalid_request_error", "invalid_request_error",
        "This call was done and charged once; its answer was not kept. Do not send it again.",
    ),
    "store_unavailable": Reason(
        503, "Cannot decide now", "server_error", "overloaded_error",
        "The gate cannot reach its counters; try again in a moment.",
    ),
    "ledger_backlog": Reason(
        503, "Too much waits for the ledger", "server_error", "overloaded_error",
        "The ledger is behind; try again in a moment.",
    ),
    "too_many_open": Reason(
        429, "Too many calls at once", "rate_limit_exceeded", "rate_limit_error",
        "Wait until a call has ended before you start another.",
    ),
    "rate_limited": Reason(
        429, "Too many calls", "rate_limit_exceeded", "rate_limit_error",
        "Slow down and try again after the time in Retry-After.",
    ),
    "quota_exceeded": Reason(
        429, "Quota used up", "rate_limit_exceeded", "rate_limit_error",
        "The quota of this period is used up; wait for the next period or choose a larger plan.",
    ),
    "cap_reached": Reason(
        402, "Spending cap reached", "insufficient_quota", "billing_error",
        "The spending cap of this period is reached; raise it or wait for the next period.",
    ),
    "insufficient_credits": Reason(
        402, "Credits used up", "insufficient_quota", "billing_error",
        "The account's credits do not cover this call; top up and try again.",
    ),
    "upstream_busy": Reason(
        503, "The service behind is busy", "server_error", "overloaded_error",
        "Too many calls wait for the service behind the gate; try again in a moment.",
    ),
    "upstream_unreachable": Reason(
        502, "The service behind cannot be reached", "server_error", "api_error",
        "The service behind the gate cannot be reached; nothing was charged, so try again.",
    ),
    "upstream_invalid": Reason(
        502, "The service behind gave no valid answer", "server_error", "api_error",
        "The service behind the gate gave no valid answer; nothing was charged.",
    ),
    "upstream_timeout": Reason(
        504, "The service behind is too slow", "server_error", "timeout_error",
        "The service behind the gate did not answer in time; nothing was charged.",
    ),
    "internal_error": Reason(
        500, "Something failed", "server_error", "api_error",
        "Something failed on the way; try again, and tell the operator if it stays.",
    ),
}  # fmt: skip

MONEY_REASONS = frozenset({"cap_reached", "insufficient_credits"})


class Refusal(NamedTuple):
    """Why a call is not let through, and what would help."""

    reason: str
    detail: str = ""
    scope: str = ""
    meter: str = ""
    required: int | None = None
    available: int | None = None
    resets_at_us: int = 0
    retry_after_us: int = 0
    limit: Standing | None = None
    """Where the limit stands that refused."""
    in_money: bool = False
    """Whether what is required and available is money, where the reason alone does not say so."""
    request_id: str = ""
    """Of the request that was refused, where it has got one already."""

    @property
    def status(self) -> int:
        return REASONS[self.reason].status

    @property
    def sentence(self) -> str:
        return self.detail or REASONS[self.reason].help


def retry_after_s(refusal: Refusal) -> int:
    return limits.seconds(refusal.retry_after_us)


def worth_retrying(refusal: Refusal) -> bool:
    """Whether the retry of an official SDK can help."""
    if refusal.status >= 500 or refusal.reason in ("idempotency_running", "too_slow"):
        return True
    return refusal.status == 429 and 0 < retry_after_s(refusal) <= SDK_PATIENCE_S


def _figure(refusal: Refusal, value: int | None, currency: str) -> object:
    if value is None or not (refusal.in_money or refusal.reason in MONEY_REASONS):
        return value
    return as_json(value, currency)


def body(
    refusal: Refusal, request_id: str, *, currency: str, top_up_url: str, anthropic: bool = False
) -> dict[str, Any]:
    """One object for RFC 9457 readers, the OpenAI SDK and, when asked for, the Anthropic SDK."""
    reason = REASONS[refusal.reason]
    sentence = refusal.sentence
    error: dict[str, Any] = {
        "message": sentence,
        "type": reason.openai,
        "code": refusal.reason,
        "param": None,
    }
    if anthropic:
        error["type"] = reason.anthropic
    members: dict[str, Any] = {
        "type": "error" if anthropic else f"urn:metergate:reason:{refusal.reason}",
        "title": reason.title,
        "status": reason.status,
        "detail": sentence,
        "reason": refusal.reason,
        "scope": refusal.scope or None,
        "meter": refusal.meter or None,
        "required": _figure(refusal, refusal.required, currency),
        "available": _figure(refusal, refusal.available, currency),
        "resets_at": rfc3339(refusal.resets_at_us) if refusal.resets_at_us else None,
        "top_up_url": top_up_url if reason.status == 402 else None,
    }
    shown = {name: value for name, value in members.items() if value is not None}
    return {**shown, "request_id": request_id, "error": error}


def headers(refusal: Refusal, *, top_up_url: str) -> list[tuple[bytes, bytes]]:
    found = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
    if refusal.retry_after_us:
        found.append((b"retry-after", b"%d" % retry_after_s(refusal)))
    if refusal.limit is not None:
        found += limits.headers([refusal.limit])
    if not worth_retrying(refusal):
        found.append((b"x-should-retry", b"false"))
    if refusal.status == 401:
        found.append((b"www-authenticate", b'Bearer realm="metergate"'))
    if refusal.status == 402 and top_up_url:
        found.append((b"link", f'<{top_up_url}>; rel="payment"'.encode("latin-1", "replace")))
    return found
