"""`verify` knows what payments came to: who changes rows behind its back is found."""

from collections.abc import Callable

import pytest

from metergate.billing import refunding
from metergate.errors import InvalidInput
from metergate.ledger import payments, reversals
from metergate.ledger.database import Tx
from metergate.provider_port import Money
from tests.billing.bench import NANOS, Bench


async def a_refunded_one(bench: Bench) -> str:
    payment = await bench.paid(1000, "p1")
    await bench.cashier.verify(payment.id)
    await refunding.refund(bench.cashier, payment.id, Money(400, "USD"), "r1")
    assert await bench.differences() == []
    return payment.id


LIES: dict[str, tuple[Callable[[Tx], None], str]] = {
    "a payment that gave nothing": (
        lambda tx: payments.change(tx, "p2", state="succeeded", paid_minor=500),
        "The payment p2 came in and gave 0 nanos of credits, not 5000000000.",
    ),
    "a grant for what was never paid": (
        lambda tx: payments.change(tx, "p1", state="pending"),
        "The grant payment:p1 is for a payment that did not come in.",
    ),
    "less than was asked": (
        lambda tx: payments.change(tx, "p1", paid_minor=999),
        "The payment p1 came in with 999 of 1000, in the smallest unit of its currency.",
    ),
    "a refund that took less than it says": (
        lambda tx: reversals.change_refund(tx, "r1", taken=5 * NANOS),
        "Of the money that went back, refund:r1 took 4000000000 nanos of credits, and says 5000000000.",
    ),
    "a refund that took nothing": (
        lambda tx: reversals.change_refund(tx, "r1", taken=None),
        "The money of refund:r1 went back, and the credits of its payment did not.",
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_payment_that_does_not_add_up_is_found(any_bench: Bench, lie: str) -> None:
    await a_refunded_one(any_bench)
    await any_bench.top_up(500, "p2")
    change, says = LIES[lie]
    await any_bench.ledger.write(change)
    assert says in await any_bench.differences()


async def test_nobody_grants_in_the_name_of_a_payment(bench: Bench) -> None:
    for id in ("payment:p9", "refund:r1", "dispute:sandbox:dp_1"):
        with pytest.raises(InvalidInput, match="by what was paid"):
            await bench.office.credits.grant("acct", "5.00", id=id)
