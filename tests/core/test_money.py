"""Money is exact: what is read, summed and written is the same number, and nothing half-readable is taken."""

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core.money import (
    EXPONENTS,
    MAX,
    NANOS,
    UNITS_MAX,
    MoneyError,
    as_json,
    exponent,
    fits,
    parse,
    plain,
    round_half_up,
    units,
)

amounts = st.integers(-MAX, MAX)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("5.00", 5 * NANOS),
        ("0.000150", 150_000),
        ("0.000000001", 1),
        ("-1.50", -1_500_000_000),
        ("0", 0),
        ("-0", 0),
        ("9223372036.854775807", MAX),
        ("-9223372036.854775807", -MAX),
    ],
)
def test_a_decimal_string_is_read_exactly(text: str, nanos: int) -> None:
    assert parse(text) == nanos


NO_DECIMALS = """- +1 1_000 1,5 1. .5 1.2.3 1e3 --1 0x1 NaN inf 0.0000000001 9223372036.854775808
-9223372036.854775808 999999999999999999999 \u0661 \uff11 \u00b2 1.\u0665"""


@pytest.mark.parametrize("text", [*NO_DECIMALS.split(), "", " 1", "1 ", "1\n"])
def test_what_is_not_a_plain_decimal_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(MoneyError) as refused:
        parse(text)
    message = str(refused.value)
    assert message.endswith(".") and "\n" not in message and len(message) < 200


@pytest.mark.parametrize("value", [5, 5.0, None, True, b"5", ["5"]])
def test_only_text_is_an_amount(value: object) -> None:
    with pytest.raises(MoneyError):
        parse(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nanos", "currency", "text"),
    [
        (5 * NANOS, "USD", "5.00"),
        (150_000, "USD", "0.000150"),
        (1, "USD", "0.000000001"),
        (-1_500_000_000, "EUR", "-1.50"),
        (-1, "USD", "-0.000000001"),
        (0, "USD", "0.00"),
        (500 * NANOS, "JPY", "500"),
        (NANOS // 2, "JPY", "0.500000"),
        (1_234_000_000, "KWD", "1.234"),
        (1_234_500_000, "KWD", "1.234500"),
        (1_234_500_000, "CLF", "1.2345"),
        (MAX, "USD", "9223372036.854775807"),
    ],
)
def test_an_amount_is_written_with_the_fewest_usual_decimals(nanos: int, currency: str, text: str) -> None:
    assert plain(nanos, currency) == text


@given(amounts, st.sampled_from(sorted(EXPONENTS)))
def test_what_is_written_reads_back_as_the_same_amount(nanos: int, currency: str) -> None:
    assert parse(plain(nanos, currency)) == nanos


@given(st.text())
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    with suppress(MoneyError):
        assert fits(parse(text))


def test_a_million_charges_of_a_millionth_are_exactly_one() -> None:
    assert sum(parse("0.000001") for _ in range(1_000_000)) == parse("1")


def test_money_in_json_has_one_form() -> None:
    assert as_json(150_000, "USD") == {"currency": "USD", "amount": "0.000150", "nanos": 150_000}


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("XOF", 0), ("XCG", 2), ("SLE", 2)],
)
def test_every_currency_has_its_own_decimals(currency: str, decimals: int) -> None:
    assert exponent(currency) == decimals


@pytest.mark.parametrize("currency", ["XXX", "usd", "", "USDC", "XAU", "US"])
def test_an_unknown_currency_has_no_default(currency: str) -> None:
    with pytest.raises(MoneyError, match="ISO 4217"):
        plain(1, currency)


def test_the_table_holds_codes_of_three_capitals() -> None:
    assert len(EXPONENTS) > 160
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in EXPONENTS)


@pytest.mark.parametrize(
    ("numerator", "denominator", "rounded"),
    [
        (1, 2, 1),
        (-1, 2, -1),
        (3, 2, 2),
        (1, 3, 0),
        (-1, 3, 0),
        (2, 3, 1),
        (0, 7, 0),
        (10**40 + 1, 2, (10**40 + 2) // 2),
    ],
)
def test_a_half_is_rounded_away_from_zero(numerator: int, denominator: int, rounded: int) -> None:
    assert round_half_up(numerator, denominator) == rounded


@given(st.integers(), st.integers(1))
def test_rounding_errs_by_at_most_a_half_and_alike_on_both_sides(numerator: int, denominator: int) -> None:
    rounded = round_half_up(numerator, denominator)
    assert abs(rounded - Fraction(numerator, denominator)) <= Fraction(1, 2)
    assert round_half_up(-numerator, denominator) == -rounded


@pytest.mark.parametrize("denominator", [0, -1])
def test_rounding_wants_a_positive_denominator(denominator: int) -> None:
    with pytest.raises(MoneyError):
        round_half_up(1, denominator)


@pytest.mark.parametrize(("n", "whether"), [(MAX, True), (-MAX, True), (MAX + 1, False), (-MAX - 1, False)])
def test_the_bounds_are_those_of_sixty_four_bits(n: int, whether: bool) -> None:
    assert fits(n) is whether


@pytest.mark.parametrize(
    ("value", "counted"),
    [(0, 0), (7, 7), ("0", 0), ("007", 7), (UNITS_MAX, UNITS_MAX), ("9007199254740991", UNITS_MAX)],
)
def test_whole_numbers_and_their_digits_are_quantities(value: object, counted: int) -> None:
    assert units(value) == counted


NO_NUMBERS: list[object] = [
    -1,
    UNITS_MAX + 1,
    1.0,
    0.5,
    float("nan"),
    float("inf"),
    True,
    False,
    None,
    b"7",
    [7],
    {},
]
NO_QUANTITIES = "-1 +1 1.0 1e3 1_000 1,000 0x1 nan \u0663 \uff17 \u00b2 9007199254740992 00000000000000000"


@pytest.mark.parametrize("value", [*NO_QUANTITIES.split(), "", " 1", "1\n", *NO_NUMBERS])
def test_any_other_quantity_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(MoneyError, match=r"^Give output tokens as a whole number .*\.$"):
        units(value, "output tokens")


@pytest.mark.parametrize("value", [10**5000, "9" * 100_000], ids=["number", "text"])
def test_a_huge_value_is_refused_without_being_repeated(value: int | str) -> None:
    for read in (units, parse):
        with pytest.raises(MoneyError) as refused:
            read(value)  # type: ignore[arg-type]
        assert len(str(refused.value)) < 200
