"""Amounts: in the smallest unit of their currency here, and as Stripe wants them there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core.money import EXPONENTS
from metergate.provider_port import Misconfigured, Money
from metergate_stripe.money import from_stripe, objection, to_stripe
from tests.adapters.stripe.bench import Bench, an_order


@pytest.mark.parametrize(
    ("amount", "theirs"),
    [
        (Money(1999, "USD"), 1999),
        (Money(435, "EUR"), 435),
        (Money(500, "JPY"), 500),
        (Money(5, "ISK"), 500),  # ISO 4217 knows no decimals any more, Stripe goes on with two
        (Money(5, "UGX"), 500),
        (Money(500, "MGA"), 5),  # and the other way round
        (Money(5120, "KWD"), 5120),
    ],
    ids=str,
)
def test_an_amount_is_written_as_stripe_reads_it(amount: Money, theirs: int) -> None:
    assert to_stripe(amount) == theirs
    assert from_stripe(theirs, amount.currency.lower()) == amount
    assert objection(amount) == ""


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        (Money(5124, "KWD"), "round the last one"),
        (Money(501, "MGA"), "whole MGA"),
        (Money(0, "USD"), "above zero"),
        (Money(500, "IRR"), "does not take the currency IRR"),
        (Money(500, "XXX"), "does not take the currency XXX"),
    ],
    ids=str,
)
def test_what_stripe_would_not_take_is_said_before_it_is_asked(amount: Money, says: str) -> None:
    assert says in objection(amount)


def test_what_does_not_fit_is_never_sent() -> None:
    with pytest.raises(Misconfigured, match="whole MGA"):
        to_stripe(Money(501, "MGA"))


@given(st.sampled_from(sorted(EXPONENTS)), st.integers(1, 10**9))
def test_what_stripe_takes_comes_back_the_same(currency: str, minor: int) -> None:
    amount = Money(minor, currency)
    if not objection(amount):
        assert from_stripe(to_stripe(amount), currency.lower()) == amount


async def test_a_price_of_19_99_is_1999_wherever_it_is_written(bench: Bench) -> None:
    customer = await bench.customer()
    method = await bench.method(customer)
    await bench.stripe.open_checkout(an_order(1999))
    paid = await bench.stripe.charge(an_order(1999, customer=customer), method)
    await bench.stripe.refund_payment(paid.id, Money(1999, "USD"), "back-1")
    [page] = bench.asked("/v1/checkout/sessions")
    [charge] = bench.asked("/v1/payment_intents")
    [refund] = bench.asked("/v1/refunds")
    line = page["line_items"][0]["price_data"]
    assert (line["unit_amount"], charge["amount"], refund["amount"]) == ("1999", "1999", "1999")
