"""Money and settings at PayPal: exact in every currency, and refused before anything is sent."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core.money import exponent
from metergate.errors import ConfigurationError, InvalidInput
from metergate.provider_port import Context, Money, UnknownOutcome
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_paypal import PayPalProvider, open_provider
from metergate_paypal.shapes import CURRENCIES, key, money, objection, value


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Money(1999, "USD"), "19.99"),
        (Money(29, "USD"), "0.29"),
        (Money(435, "EUR"), "4.35"),
        (Money(500, "JPY"), "500"),
        (Money(199_900, "HUF"), "1999"),
        (Money(50_000, "TWD"), "500"),
        (Money(10**14 + 1, "USD"), "1000000000000.01"),
    ],
)
def test_an_amount_is_written_as_paypal_wants_it(amount: Money, text: str) -> None:
    assert value(amount) == text
    assert money(SimpleNamespace(currency_code=amount.currency, value=text)) == amount


@given(st.integers(1, 10**14), st.sampled_from(sorted(CURRENCIES)))
def test_no_amount_changes_on_its_way(minor: int, currency: str) -> None:
    amount = Money(minor, currency)
    if not objection(amount):
        assert money(SimpleNamespace(currency_code=currency, value=value(amount))) == amount


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        (Money(500, "BHD"), "takes no BHD"),
        (Money(0, "USD"), "above zero"),
        (Money(199_950, "HUF"), "whole HUF only"),
        (Money(1, "TWD"), "whole TWD only"),
    ],
)
def test_what_paypal_would_not_take_is_refused_before(amount: Money, says: str) -> None:
    assert says in objection(amount)
    with pytest.raises(InvalidInput, match=says):
        value(amount)


@pytest.mark.parametrize(
    ("currency", "text"), [("USD", "1.999"), ("JPY", "5.5"), ("USD", "1e3"), ("XXX", "1"), ("USD", "-1")]
)
def test_what_is_no_exact_amount_is_not_guessed(currency: str, text: str) -> None:
    with pytest.raises(UnknownOutcome):
        money(SimpleNamespace(currency_code=currency, value=text))


def test_trailing_zeros_are_the_same_amount() -> None:
    assert money(SimpleNamespace(currency_code="JPY", value="500.00")) == Money(500, "JPY")
    assert exponent("JPY") == 0


def test_a_long_id_has_a_short_key_of_its_own() -> None:
    assert key("pay_1") == "pay_1"
    first, second = key("a" * 128), key("a" * 127 + "b")
    assert first != second
    assert len(first) <= 108


GIVEN = {"PAYPAL_CLIENT_ID": "id", "PAYPAL_CLIENT_SECRET": "secret", "PAYPAL_WEBHOOK_ID": "WH"}


def opened(**changes: str) -> PayPalProvider:
    settings = {**GIVEN, **changes}
    return open_provider(Context("paypal", FakeClock(), ask, NotesInMemory(), settings))


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_secret_refuses_to_start(name: str, blank: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        opened(**{name: blank})


@pytest.mark.parametrize(
    "address", ["http://paypal.example", "api-m.paypal.com", "ftp://127.0.0.1", "https://"]
)
def test_paypal_is_reached_over_tls(address: str) -> None:
    with pytest.raises(ConfigurationError, match="PAYPAL_API_BASE to an https address"):
        opened(PAYPAL_API_BASE=address)


def test_the_mode_says_whether_money_is_real() -> None:
    assert opened().live is False
    assert opened(PAYPAL_MODE="live").live is True
    with pytest.raises(ConfigurationError, match="PAYPAL_MODE to live or sandbox, not 'production'"):
        opened(PAYPAL_MODE="production")
