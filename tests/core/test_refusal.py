"""A refusal is data: one reason with its status, and what readers of three dialects are told."""

from typing import Any

import pytest

from metergate.core.limits import Standing
from metergate.core.refusal import REASONS, Refusal, body, headers, retry_after_s, worth_retrying

STATUSES = {
    "too_many_connections": 429,
    "too_slow": 408,
    "url_too_long": 414,
    "headers_too_large": 431,
    "bad_request": 400,
    "two_keys": 400,
    "too_many_wrong_keys": 429,
    "key_missing": 401,
    "key_invalid": 401,
    "key_environment": 401,
    "key_revoked": 401,
    "key_expired": 401,
    "key_elsewhere": 403,
    "account_suspended": 403,
    "route_not_in_policy": 403,
    "scope_missing": 403,
    "feature_not_in_plan": 403,
    "no_price": 403,
    "quantity_too_large": 400,
    "bad_idempotency_key": 400,
    "body_too_large": 413,
    "idempotency_mismatch": 422,
    "idempotency_running": 409,
    "idempotency_done": 409,
    "store_unavailable": 503,
    "ledger_backlog": 503,
    "too_many_open": 429,
    "rate_limited": 429,
    "quota_exceeded": 429,
    "cap_reached": 402,
    "insufficient_credits": 402,
    "upstream_busy": 503,
    "upstream_unreachable": 502,
    "upstream_invalid": 502,
    "upstream_timeout": 504,
    "internal_error": 500,
}
"""Every reason in the order of precedence: the caller hears of the first that applies."""

SECOND = 10**6
PAY = "https://pay.example.com/top-up"


def test_reasons_their_statuses_and_their_precedence() -> None:
    assert [(reason, REASONS[reason].status) for reason in tuple(REASONS)] == list(STATUSES.items())


@pytest.mark.parametrize("reason", tuple(REASONS))
def test_every_reason_says_in_one_sentence_what_helps(reason: str) -> None:
    sentence = Refusal(reason).sentence
    assert sentence == REASONS[reason].help
    assert sentence[0].isupper() and sentence.endswith(".")


def test_a_detail_of_the_case_replaces_the_general_sentence() -> None:
    assert Refusal("bad_request", "The path holds a dot segment.").sentence == "The path holds a dot segment."


@pytest.mark.parametrize("reason", tuple(REASONS))
@pytest.mark.parametrize("anthropic", [False, True], ids=["openai", "anthropic"])
def test_every_body_is_a_problem_and_an_error_of_the_sdk(reason: str, anthropic: bool) -> None:
    found = body(Refusal(reason), "req_1", currency="USD", top_up_url=PAY, anthropic=anthropic)
    sentence = REASONS[reason].help
    assert found["status"] == REASONS[reason].status
    assert found["title"] == REASONS[reason].title
    assert (found["reason"], found["detail"], found["request_id"]) == (reason, sentence, "req_1")
    assert found["type"] == ("error" if anthropic else f"urn:metergate:reason:{reason}")
    kind = REASONS[reason].anthropic if anthropic else REASONS[reason].openai
    assert found["error"] == {"message": sentence, "type": kind, "code": reason, "param": None}
    assert ("top_up_url" in found) is (REASONS[reason].status == 402)


def test_a_402_names_what_is_required_what_is_there_and_where_to_pay() -> None:
    refusal = Refusal("insufficient_credits", scope="account", meter="tokens", required=150_000, available=0)
    assert body(refusal, "req_1", currency="USD", top_up_url=PAY) == {
        "type": "urn:metergate:reason:insufficient_credits",
        "title": "Credits used up",
        "status": 402,
        "detail": "The account's credits do not cover this call; top up and try again.",
        "reason": "insufficient_credits",
        "scope": "account",
        "meter": "tokens",
        "required": {"currency": "USD", "amount": "0.000150", "nanos": 150_000},
        "available": {"currency": "USD", "amount": "0.00", "nanos": 0},
        "top_up_url": PAY,
        "request_id": "req_1",
        "error": {
            "message": "The account's credits do not cover this call; top up and try again.",
            "type": "insufficient_quota",
            "code": "insufficient_credits",
            "param": None,
        },
    }


def test_the_anthropic_sdk_finds_its_billing_error() -> None:
    found = body(Refusal("insufficient_credits"), "req_1", currency="USD", top_up_url="", anthropic=True)
    assert (found["type"], found["error"]["type"]) == ("error", "billing_error")


def test_a_quota_names_units_and_the_instant_of_its_reset() -> None:
    refusal = Refusal("quota_exceeded", required=1, available=0, resets_at_us=1_769_904_000 * SECOND)
    found = body(refusal, "req_1", currency="USD", top_up_url=PAY)
    assert (found["required"], found["available"]) == (1, 0)
    assert found["resets_at"] == "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (Refusal("key_missing"), {"www-authenticate": 'Bearer realm="metergate"', "x-should-retry": "false"}),
        (Refusal("feature_not_in_plan"), {"x-should-retry": "false"}),
        (Refusal("insufficient_credits"), {"link": f'<{PAY}>; rel="payment"', "x-should-retry": "false"}),
        (Refusal("cap_reached"), {"link": f'<{PAY}>; rel="payment"', "x-should-retry": "false"}),
        (Refusal("rate_limited", retry_after_us=1), {"retry-after": "1"}),
        (Refusal("rate_limited", retry_after_us=120 * SECOND), {"retry-after": "120"}),
        (
            Refusal("quota_exceeded", retry_after_us=120 * SECOND + 1),
            {"retry-after": "121", "x-should-retry": "false"},
        ),
        (Refusal("store_unavailable", retry_after_us=SECOND), {"retry-after": "1"}),
        (Refusal("idempotency_running", retry_after_us=SECOND), {"retry-after": "1"}),
        (Refusal("idempotency_done"), {"x-should-retry": "false"}),
    ],
    ids=lambda value: value.reason if isinstance(value, Refusal) else "",
)
def test_headers_say_whether_time_or_money_helps(refusal: Refusal, expected: dict[str, str]) -> None:
    found = {name.decode(): value.decode() for name, value in headers(refusal, top_up_url=PAY)}
    always = {"content-type": "application/problem+json", "cache-control": "no-store"}
    limits = {name for name in found if "ratelimit" in name}
    assert {name: found[name] for name in found if name not in limits} == always | expected
    assert not limits


def test_a_limit_that_refuses_says_what_is_left_and_when_it_is_whole_again() -> None:
    """Under the name that admitted calls were told of."""
    limit = Standing("2-per-minute", 2, 60, 0, 3)
    found = dict(headers(Refusal("rate_limited", retry_after_us=3 * SECOND, limit=limit), top_up_url=""))
    assert found[b"ratelimit-policy"] == b'"2-per-minute";q=2;w=60'
    assert found[b"ratelimit"] == b'"2-per-minute";r=0;t=3'
    assert found[b"x-ratelimit-limit-requests"] == b"2"
    assert found[b"x-ratelimit-remaining-requests"] == b"0"
    assert found[b"x-ratelimit-reset-requests"] == b"3s"


def test_without_a_place_to_pay_there_is_no_link() -> None:
    assert b"link" not in dict(headers(Refusal("cap_reached"), top_up_url=""))


@pytest.mark.parametrize(
    ("waits_us", "seconds"), [(0, 0), (1, 1), (SECOND, 1), (SECOND + 1, 2), (3600 * SECOND, 3600)]
)
def test_waiting_is_rounded_up_to_whole_seconds(waits_us: int, seconds: int) -> None:
    assert retry_after_s(Refusal("rate_limited", retry_after_us=waits_us)) == seconds


@pytest.mark.parametrize("reason", tuple(REASONS))
def test_only_what_time_cures_is_worth_a_retry(reason: str) -> None:
    cured: Any = {"store_unavailable", "ledger_backlog", "idempotency_running"}
    cured |= {"too_many_open", "rate_limited", "quota_exceeded", "too_many_connections", "too_slow"}
    cured.add("too_many_wrong_keys")
    cured |= {
        "upstream_busy",
        "upstream_unreachable",
        "upstream_invalid",
        "upstream_timeout",
        "internal_error",
    }
    assert worth_retrying(Refusal(reason, retry_after_us=SECOND)) is (reason in cured)
