"""Whether what a provider says is about the payment that we asked for."""

from metergate.ledger.payments import Payment
from metergate.provider_port import SUCCEEDED, DisputeFacts, PaymentFacts, RefundFacts


def mismatch(payment: Payment, facts: PaymentFacts) -> str:
    """Why the facts are not believed, as one sentence; empty when they are."""
    if facts.live != payment.live:
        said, ours = ("live", "test") if facts.live else ("test", "live")
        return f"The provider says {said} mode, the payment was made in {ours} mode."
    if facts.order and facts.order != payment.id:
        return f"The provider says that it pays {facts.order:.80}."
    if facts.amount.currency != payment.currency:
        return f"The provider says {facts.amount.currency:.10}, {payment.currency} was asked for."
    if facts.customer and payment.customer and facts.customer != payment.customer:
        return f"The provider says that {facts.customer:.80} paid, not {payment.customer}."
    if (facts.state == SUCCEEDED or facts.approved) and facts.amount.minor < payment.minor:
        return f"Only {facts.amount.minor} of {payment.minor} was paid, in the smallest unit of the currency."
    another = payment.state == SUCCEEDED and facts.id not in ("", payment.external_id)
    if another and facts.state == SUCCEEDED:
        return f"It was paid by {payment.external_id} already, and {facts.id:.80} is another payment."
    reversals: list[RefundFacts | DisputeFacts] = [*facts.refunds, *facts.disputes]
    for back in reversals:
        if back.amount.currency != payment.currency:
            return f"The provider says that {back.amount.currency:.10} went back; {payment.currency} came in."
    return ""
