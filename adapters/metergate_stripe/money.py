"""Amounts as Stripe writes them, which for a few currencies is not in their smallest unit of today."""

from collections.abc import Mapping
from typing import Final

from metergate.core.money import EXPONENTS
from metergate.provider_port import Misconfigured, Money

_OWN: Final[Mapping[str, int]] = {"ISK": 2, "UGX": 2, "MGA": 0}
"""How many decimals Stripe's amounts have where ISO 4217 says otherwise (docs.stripe.com/currencies)."""

_NEVER: Final = frozenset(
    {"CLF", "CUP", "ERN", "IQD", "IRR", "KPW", "LYD", "SDG", "SSP", "SYP", "UYI", "UYW", "VED", "XAD"}
)
"""Currencies of the table that Stripe does not take."""


def objection(amount: Money) -> str:
    if amount.currency not in EXPONENTS or amount.currency in _NEVER:
        return f"Stripe does not take the currency {amount.currency:.10}."
    if amount.minor <= 0:
        return "Pay an amount above zero."
    if EXPONENTS[amount.currency] == 3 and amount.minor % 10:
        return f"Stripe takes {amount.currency} with two decimals: round the last one to zero."
    return f"Stripe takes whole {amount.currency} only: round the amount." if _scaled(amount)[1] else ""


def decimals(currency: str) -> int:
    """How many decimals Stripe's amounts in this currency have."""
    return _OWN.get(currency, EXPONENTS[currency])


def to_stripe(amount: Money) -> int:
    theirs, rest = _scaled(amount)
    if rest:
        raise Misconfigured(objection(amount))
    return theirs


def from_stripe(amount: int, currency: str) -> Money:
    """What is less than the smallest unit, which Stripe does not let happen, was not paid."""
    code = currency.upper()
    more = _OWN[code] - EXPONENTS[code] if code in _OWN else 0
    minor = amount // 10**more if more >= 0 else int(amount * 10**-more)
    return Money(minor, code)


def _scaled(amount: Money) -> tuple[int, int]:
    if amount.currency not in _OWN:
        return amount.minor, 0
    more = _OWN[amount.currency] - EXPONENTS[amount.currency]
    if more >= 0:
        return int(amount.minor * 10**more), 0
    return divmod(amount.minor, int(10**-more))
