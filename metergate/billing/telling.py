"""What others are told of payments and subscriptions, in the transaction that changes them."""

from metergate.core.money import as_json, minor_unit
from metergate.ledger import notices
from metergate.ledger.database import Tx
from metergate.ledger.payments import Payment
from metergate.ledger.reversals import Dispute, Refund
from metergate.ledger.subscriptions import ProviderInvoice, Subscription
from metergate.provider_port import CANCELED, FAILED, PENDING, SUCCEEDED

_STATES = {SUCCEEDED: "payment.succeeded", FAILED: "payment.failed", CANCELED: "payment.failed"}


def moved(tx: Tx, payment: Payment, now_us: int) -> None:
    """A payment is in another state."""
    type = _STATES.get(payment.state)
    if type:
        notices.tell(tx, type, payment.account, _shown(payment), now_us, f"{payment.id}:{payment.state}")


def refunded(tx: Tx, payment: Payment, refund: Refund, now_us: int) -> None:
    """A refund has come to an end: done, or failed."""
    if refund.state == PENDING:
        return
    told = {
        **_shown(payment),
        "refund": refund.id,
        "refund_state": refund.state,
        "refunded": _money(refund.minor, refund.currency),
    }
    cause = f"{refund.id}:{refund.state}:{refund.said}"
    notices.tell(tx, "payment.refunded", payment.account, told, now_us, cause)


def disputed(tx: Tx, payment: Payment, dispute: Dispute, now_us: int) -> None:
    told = {
        **_shown(payment),
        "dispute": dispute.external_id,
        "dispute_state": dispute.state,
        "disputed": _money(dispute.minor, dispute.currency),
    }
    cause = f"{dispute.provider}:{dispute.external_id}:{dispute.state}:{dispute.said}"
    notices.tell(tx, "payment.disputed", payment.account, told, now_us, cause)


def subscribed(tx: Tx, known: Subscription | None, row: Subscription) -> None:
    """A subscription is new, or is not what it was."""
    if known is not None and (known.state, known.plan, known.ends) == (row.state, row.plan, row.ends):
        return
    told = {
        "subscription": row.id,
        "provider": row.provider,
        "plan": row.plan,
        "state": row.state,
        "before": known.state if known else None,
        "ends_with_period": row.ends,
    }
    notices.tell(
        tx, "subscription.changed", row.account, told, row.updated_at_us, f"{row.id}:{row.updated_at_us}"
    )


def invoiced(tx: Tx, known: ProviderInvoice | None, row: ProviderInvoice) -> None:
    """An invoice of a provider is new, or is not what it was."""
    if known is not None and (known.state, known.reason, known.url) == (row.state, row.reason, row.url):
        return
    told = {
        "invoice": row.external_id,
        "provider": row.provider,
        "subscription": row.subscription or None,
        "state": row.state,
        "before": known.state if known else None,
        "amount": _money(row.minor, row.currency),
        "paid": _money(row.paid_minor, row.currency),
        "reason": row.reason or None,
        "url": row.url or None,
    }
    cause = f"{row.provider}:{row.external_id}:{row.updated_at_us}"
    notices.tell(tx, "invoice.changed", row.account, told, row.updated_at_us, cause)


def _shown(payment: Payment) -> dict[str, object]:
    return {
        "payment": payment.id,
        "state": payment.state,
        "provider": payment.provider,
        "kind": payment.kind,
        "subject": payment.subject or None,
        "description": payment.description,
        "amount": _money(payment.minor, payment.currency),
        "credits": as_json(payment.credits, payment.currency),
        "reason": payment.reason or None,
    }


def _money(minor: int, currency: str) -> dict[str, object]:
    return dict(as_json(minor * minor_unit(currency), currency))
