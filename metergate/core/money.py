"""Money and quantities as exact integers: 10^-9 of a currency (nanos), and whole units of a meter.

No float ever stands for money here, and nothing that comes from outside becomes a number without passing
`parse` or `units`.
"""

import re
from collections.abc import Mapping
from typing import Final

NANOS: Final = 10**9
MAX: Final = 2**63 - 1
UNITS_MAX: Final = 2**53 - 1
COST_MAX: Final = 10**15
"""The most that one call may cost: a million of the currency. Thousands of such calls together still fit."""

_DECIMAL = re.compile(r"(-?)([0-9]{1,20})(?:\.([0-9]{1,9}))?")
_DIGITS = re.compile(r"[0-9]{1,16}")


class MoneyError(ValueError):
    """An amount or a quantity that cannot be taken; the message is one sentence that says what is wanted."""


def _table(**codes: str) -> Mapping[str, int]:
    return {code: int(digits[1:]) for digits, listed in codes.items() for code in listed.split()}


# ISO 4217, active codes with a minor unit (metals and test codes have none). ANG and BGN were replaced in
# 2025 and 2026 and stay, because invoices of before still name them.
EXPONENTS: Final = _table(
    e0="BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    e2="""
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
    CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
    GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL
    MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK
    PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
    """,
    e3="BHD IQD JOD KWD LYD OMR TND",
    e4="CLF UYW",
)


def exponent(currency: str) -> int:
    """How many decimals the currency has."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise MoneyError(f"Use an ISO 4217 currency code such as USD, not {shown(currency)}.") from None


def minor_unit(currency: str) -> int:
    """How many nanos the currency's smallest unit has."""
    return NANOS // int(10 ** exponent(currency))


def fits(n: int) -> bool:
    """Whether the amount can be kept by every store and ledger."""
    return -MAX <= n <= MAX


def parse(text: str) -> int:
    """The nanos of a decimal string such as "5.00" or "-0.000000001"."""
    shape = whole_match(_DECIMAL, text)
    if shape is None:
        raise MoneyError(
            f'Write an amount as a decimal string with at most 9 decimals such as "5.00", not {shown(text)}.'
        )
    sign, whole, fraction = shape.groups("")
    nanos = int(whole) * NANOS + int(fraction.ljust(9, "0"))
    if nanos > MAX:
        raise MoneyError(f"Use an amount of at most {plain(MAX)}, not {text}.")
    return -nanos if sign else nanos


_ZEROS = ["0" * (9 - places) for places in range(10)]


def plain(nanos: int, currency: str = "USD") -> str:
    """The amount as decimal text: the currency's decimals when they are exact, else 6, else 9."""
    places = EXPONENTS.get(currency)
    if places is None:
        places = exponent(currency)
    # Every answer tells a balance in this form, hence no more than two texts for the usual one.
    digits = f"{nanos:011d}" if nanos < 0 else f"{nanos:010d}"
    if digits[-3:] != "000":
        return f"{digits[:-9]}.{digits[-9:]}"
    if digits[places - 9 :] != _ZEROS[places]:
        return f"{digits[:-9]}.{digits[-9:-3]}"
    return f"{digits[:-9]}.{digits[-9 : places - 9]}" if places else digits[:-9]


def as_json(nanos: int, currency: str) -> dict[str, str | int]:
    """The one form that money has in every JSON answer."""
    return {"currency": currency, "amount": plain(nanos, currency), "nanos": nanos}


def round_half_up(numerator: int, denominator: int) -> int:
    """The nearest integer to the quotient; a half goes away from zero."""
    if denominator <= 0:
        raise MoneyError("Divide an amount by a positive number.")
    rounded = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -rounded if numerator < 0 else rounded


def units(value: object, what: str = "units") -> int:
    """The one validator of quantities from outside: a whole number up to 2^53 - 1, or its ASCII digits."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= UNITS_MAX:
        raise MoneyError(f"Give {what} as a whole number from 0 to {UNITS_MAX}, not {shown(value)}.")
    return value


def whole_match(pattern: re.Pattern[str], value: object) -> re.Match[str] | None:
    """The match of the whole text; what is no text matches nothing, whatever its annotation says."""
    return pattern.fullmatch(value) if isinstance(value, str) else None


def shown(value: object) -> str:
    """The refused value as an error message may repeat it."""
    # Only what is short is repeated: the rest could be megabytes.
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else "a text of this length"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number of this size"
    return repr(value) if isinstance(value, (bool, int, float)) else f"a {type(value).__name__}"
