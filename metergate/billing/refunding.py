"""Refunds: our row first, then the provider, and the credits when the money is gone."""

from collections.abc import Sequence
from typing import Any

from metergate.billing.cashier import Cashier
from metergate.billing.providers import able
from metergate.core.money import minor_unit, plain
from metergate.errors import InvalidInput, PaymentFailed
from metergate.ledger import audit, payments, reversals
from metergate.ledger.database import Tx
from metergate.ledger.errors import Conflict
from metergate.ledger.payments import Payment
from metergate.ledger.reversals import Refund
from metergate.ports import Change
from metergate.provider_port import (
    FAILED,
    PENDING,
    SUCCEEDED,
    Declined,
    Misconfigured,
    Money,
    PaymentFacts,
    RefundFacts,
    Refunds,
    TryAgain,
    UnknownOutcome,
)

MINUTE_US = 60 * 10**6


async def refund(cashier: Cashier, payment_id: str, amount: Money | None, id: str, actor: str = "") -> Refund:
    """Give a payment back, all of it or a part. The same id again is the same refund."""
    payment = await cashier.verify(payment_id)
    able(cashier.providers.get(payment.provider), Refunds, "refund payments")
    now_us = cashier.clock()

    def begin(tx: Tx) -> tuple[Refund, Sequence[Change]]:
        held = payments.get(tx, payment_id, lock=True)
        assert held is not None, "payments are never deleted"
        known = reversals.refund(tx, id)  # behind the lock, or two that ask at once would both find none
        left = held.paid_minor - sum(
            each.minor for each in reversals.refunds_of(tx, payment_id) if each.state != FAILED
        )
        wanted = amount or Money(known.minor if known else left, held.currency)
        if known is not None:
            if (known.payment, known.minor) != (payment_id, wanted.minor):
                raise Conflict(f"The refund {id} was asked for with other contents: use another id.")
            return known, ()
        _must_be_refundable(held, wanted, left)
        new = (id, payment_id, held.provider, None, PENDING, held.currency, wanted.minor)
        row = Refund(*new, None, now_us, now_us + MINUTE_US)
        reversals.add_refund(tx, row)
        told = {"payment": payment_id, "minor": wanted.minor, "currency": held.currency}
        audit.note(tx, now_us, actor or "system", "payment.refund", id, told)
        return row, ()

    return await send(cashier, await cashier.write(begin))


async def send(cashier: Cashier, row: Refund) -> Refund:
    """Bring a refund to the provider, or learn what became of it there."""
    if row.state != PENDING:
        return row
    payment = await cashier.verify(row.payment)
    row = await _read(cashier, row.id)
    if row.state != PENDING or row.external_id is not None:
        return row
    provider = able(cashier.providers.get(payment.provider), Refunds, "refund payments")
    name = payment.external_id or payment.checkout_id or ""
    asked_us = cashier.clock()
    try:
        answer = provider.refund_payment(name, Money(row.minor, row.currency), row.id)
        made = await cashier.asking.of(row.provider, answer)
    except (Declined, Misconfigured, InvalidInput, PaymentFailed):
        await _note(cashier, row.id, state=FAILED, look_at_us=None)
        raise
    except (TryAgain, UnknownOutcome):
        wait_us = max(MINUTE_US, cashier.asking.left_us(row.provider))
        await _note(cashier, row.id, look_at_us=cashier.clock() + wait_us)
        raise
    await cashier.settled(payment.id, _with(payment, made, row.id), asked_us)
    return await _read(cashier, row.id)


def _with(payment: Payment, made: RefundFacts, refund: str) -> PaymentFacts:
    """The payment as we know it, with the refund that the provider has just made."""
    return PaymentFacts(
        id=payment.external_id or payment.checkout_id or "",
        order=payment.id,
        state=SUCCEEDED,
        amount=Money(payment.paid_minor, payment.currency),
        live=payment.live,
        refunds=(made._replace(refund=refund),),
    )


def _must_be_refundable(payment: Payment, amount: Money, left: int) -> None:
    if payment.state != SUCCEEDED:
        raise InvalidInput(f"The payment {payment.id} is {payment.state}; only a paid one can be refunded.")
    if amount.currency != payment.currency or not 0 < amount.minor <= left:
        rest = f"{plain(left * minor_unit(payment.currency), payment.currency)} {payment.currency}"
        raise InvalidInput(
            f"The payment {payment.id} has {rest} left to refund: give more than 0 and not above it."
        )


async def _read(cashier: Cashier, id: str) -> Refund:
    found = await cashier.books.ledger.read(lambda tx: reversals.refund(tx, id))
    if found is None:
        raise InvalidInput(f"There is no refund {id:.80}.")
    return found


async def _note(cashier: Cashier, id: str, **values: Any) -> None:
    def work(tx: Tx) -> tuple[None, Sequence[Change]]:
        reversals.change_refund(tx, id, **values)
        return None, ()

    await cashier.write(work)
