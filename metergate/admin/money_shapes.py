"""The one JSON form of payments, refunds and what providers told us."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from metergate.admin.desk import Json
from metergate.admin.shapes import when
from metergate.alarms import NEWS_LATE_S, PUSH_LATE_S
from metergate.core.money import as_json, minor_unit
from metergate.ledger.inbox import EventRow
from metergate.ledger.payments import Payment
from metergate.ledger.reversals import Dispute, Refund

PUSHES: Final = ("push_backlog", "push_parked", "push_oldest_s", "drift")
STANDING: Final = (
    ("provider_calls", "calls", True),
    ("payments_moved", "payments", True),
    ("payments_open", "open_payments", True),
    ("payments_mismatched", "mismatched", False),
    ("news_waiting", "webhooks_waiting", False),
    ("news_lag_s", "webhook_lag_seconds", False),
    ("news_dead", "webhooks_dead", False),
    ("news_forged", "webhooks_forged", False),
)
"""The numbers of money in, what health calls them, and whether they have a label beside the provider."""


def payment(row: Payment, refunds: Sequence[Refund], disputes: Sequence[Dispute]) -> Json:
    back = sum(each.minor for each in refunds if each.state == "succeeded")
    over = row.paid_minor - row.minor
    method = json.loads(row.method) if row.method else None
    return {
        "id": row.id,
        "account": row.account,
        "provider": row.provider,
        "state": state(row, back, disputes),
        "kind": row.kind,
        "amount": money(row.minor, row.currency),
        "paid": money(row.paid_minor, row.currency) if row.paid_minor else None,
        "overpaid": money(over, row.currency) if over > 0 else None,
        "credits": as_json(row.credits, row.currency),
        "refunded": money(back, row.currency),
        "subject": row.subject or None,
        "description": row.description,
        "method": {name: method[name] for name in ("type", "brand", "last4")} if method else None,
        "url": row.url or None,
        "details": json.loads(row.details),
        "reason": row.reason or None,
        "mismatch": row.mismatch or None,
        "capturable": row.capturable,
        "external_id": row.external_id or row.checkout_id,
        "created_at": when(row.created_at_us),
        "updated_at": when(row.updated_at_us),
    }


def state(row: Payment, back: int, disputes: Sequence[Dispute]) -> str:
    if row.state == "succeeded" and any(each.state != "won" for each in disputes):
        return "disputed"
    return "refunded" if row.paid_minor and back >= row.paid_minor else row.state


def refund(row: Refund) -> Json:
    return {
        "id": row.id,
        "payment": row.payment,
        "state": row.state,
        "amount": money(row.minor, row.currency),
        "credits": as_json(row.taken or 0, row.currency),
        "external_id": row.external_id,
        "created_at": when(row.created_at_us),
    }


def event(row: EventRow) -> Json:
    """What a provider told us, without the body: that holds what is its customers' own."""
    return {
        "id": row.event_id,
        "provider": row.provider,
        "type": row.type,
        "state": row.state,
        "detail": row.detail or None,
        "tries": row.tries,
        "deliveries": row.deliveries,
        "at": when(row.at_us),
        "received_at": when(row.received_at_us),
        "handled_at": when(row.handled_at_us),
    }


def standing(numbers: Mapping[str, Any]) -> Json:
    """How money in is doing, by provider: the numbers of metrics, for people."""
    usage = {name: numbers[name][0][0] for name in PUSHES if name in numbers}
    found: dict[str, Json] = {}
    for name, shown, labelled in STANDING:
        for provider, *label, count in numbers.get(name, ()):
            of = found.setdefault(provider, {})
            if labelled:
                of.setdefault(shown, {})[label[0]] = count
            else:
                of[shown] = count
    late = any(each.get("webhook_lag_seconds", 0) > NEWS_LATE_S for each in found.values())
    dead = any(each.get("webhooks_dead") for each in found.values())
    late = late or usage.get("push_oldest_s", 0) > PUSH_LATE_S
    wrong = late or dead or usage.get("push_parked") or usage.get("drift")
    return {"state": "degraded" if wrong else "ok", "by_provider": found, "usage": usage}


def money(minor: int, currency: str) -> Json:
    return as_json(minor * minor_unit(currency), currency)
