"""Prices: from units to nanos, exactly.

A price keeps its rational (never a divided unit price), costs are summed as rationals, and the result is
rounded once, half up, to the nano.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import gcd
from typing import TYPE_CHECKING, Final

from metergate.core.money import COST_MAX, NANOS, MoneyError, plain, round_half_up, shown, whole_match
from metergate.core.money import units as whole_units

if TYPE_CHECKING:
    from metergate.core.table import Table

Ratio = tuple[int, int]
ONE: Final[Ratio] = (1, 1)

_DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,18}))?")


@dataclass(frozen=True, slots=True)
class Rate:
    """Nanos per unit, as a reduced fraction."""

    numerator: int
    denominator: int

    def __post_init__(self) -> None:
        if self.numerator < 0 or self.denominator < 1:
            raise MoneyError("Give a rate that is zero or more, over a positive number of units.")
        numerator, denominator = _reduced(self.numerator, self.denominator)
        object.__setattr__(self, "numerator", numerator)
        object.__setattr__(self, "denominator", denominator)

    @classmethod
    def parse(cls, price: str, per: int = 1) -> "Rate":
        """The rate of `price` (a decimal string, up to 18 decimals) for every `per` units."""
        if (per := whole_units(per, "per")) < 1:
            raise MoneyError("Give per as at least 1 unit.")
        numerator, denominator = _decimal(price, "a price")
        return cls(numerator * NANOS, denominator * per)


@dataclass(frozen=True, slots=True)
class Flat:
    """The same for every call, however many units it counts, none included."""

    nanos: int

    def __post_init__(self) -> None:
        _check_nanos(self.nanos)

    def exact(self, units: int, before: int) -> Ratio:
        return self.nanos, 1


@dataclass(frozen=True, slots=True)
class PerUnit:
    """Every unit at one rate."""

    rate: Rate

    def exact(self, units: int, before: int) -> Ratio:
        return units * self.rate.numerator, self.rate.denominator


@dataclass(frozen=True, slots=True)
class Package:
    """Units are sold in packages of `size`; a begun package is paid whole."""

    size: int
    nanos: int

    def __post_init__(self) -> None:
        _check_nanos(self.nanos)
        if self.size < 1:
            raise MoneyError("Give a package a size of at least 1 unit.")

    def exact(self, units: int, before: int) -> Ratio:
        return -(-units // self.size) * self.nanos, 1


@dataclass(frozen=True, slots=True)
class Tier:
    """Units up to and including `up_to` (None: without end); the flat part is paid once, on entering."""

    up_to: int | None
    rate: Rate
    flat_nanos: int = 0

    def __post_init__(self) -> None:
        _check_nanos(self.flat_nanos)


@dataclass(frozen=True, slots=True)
class Graduated:
    """Each unit of the period at the rate of the tier it falls into."""

    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        _check_tiers(self.tiers)

    def exact(self, units: int, before: int) -> Ratio:
        total, bottom, after = (0, 1), 0, before + units
        for tier in self.tiers:
            top = after if tier.up_to is None else min(after, tier.up_to)
            inside = top - max(before, bottom)
            if inside > 0:
                flat = tier.flat_nanos if before <= bottom else 0
                total = plus(total, _tier_cost(tier, inside, flat))
            bottom = top
        return total


@dataclass(frozen=True, slots=True)
class Volume:
    """All units of a step at the rate of the tier that the period has reached with them."""

    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        _check_tiers(self.tiers)

    def exact(self, units: int, before: int) -> Ratio:
        if units == 0:
            return 0, 1
        tier, bottom = _tier_of(self.tiers, before + units)
        return _tier_cost(tier, units, tier.flat_nanos if before <= bottom else 0)


@dataclass(frozen=True, slots=True)
class ByPrompt:
    """Every unit at one rate: that of the last step which the call's prompt is longer than."""

    rate: Rate
    longer: tuple[tuple[int, Rate], ...]
    """Tokens of the prompt -> the rate beyond them."""

    def __post_init__(self) -> None:
        lengths = [above for above, _ in self.longer]
        if lengths != sorted(set(lengths)) or lengths[:1] < [1]:
            raise MoneyError("Give each longer prompt a length above the one before it.")

    def at(self, prompt: int) -> PerUnit:
        """The price in a call whose prompt has so many tokens."""
        rate = self.rate
        for above, beyond in self.longer:
            if prompt > above:
                rate = beyond
        return PerUnit(rate)

    def exact(self, units: int, before: int) -> Ratio:
        return PerUnit(self.rate).exact(units, before)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a table of models lists; the price itself is known once the model is."""

    table: "Table"

    def exact(self, units: int, before: int) -> Ratio:
        raise MoneyError("Name the model; a table of prices has one for each.")


Price = Flat | PerUnit | Package | Graduated | Volume | ByPrompt | Listed


@dataclass(frozen=True, slots=True)
class PriceRule:
    """A price, and the dimensions (glob patterns) for which it holds."""

    when: tuple[tuple[str, str], ...]
    price: Price
    multiplier: Ratio = ONE
    minimum_nanos: int = 0

    def __post_init__(self) -> None:
        _check_nanos(self.minimum_nanos)
        _check_multiplier(self.multiplier)


def matches(rule: PriceRule, dimensions: Mapping[str, str]) -> bool:
    """Whether every dimension that the rule names is there and fits its pattern."""
    for name, pattern in rule.when:
        value = dimensions.get(name)
        if value is None or not fnmatchcase(value, pattern):
            return False
    return True


def find(rules: Sequence[PriceRule], dimensions: Mapping[str, str]) -> PriceRule | None:
    """The first rule that matches."""
    for rule in rules:
        if matches(rule, dimensions):
            return rule
    return None


def cost(rule: PriceRule, units: int, before: int = 0, multiplier: Ratio = ONE) -> int:
    """What `units` more cost, in nanos, when the period has counted `before`."""
    numerator, denominator = scaled(rule, units, before, multiplier)
    # A minimum is whole nanos, so raising to it before rounding gives what raising after would.
    if units > 0 and numerator < rule.minimum_nanos * denominator:
        return rule.minimum_nanos
    return rounded((numerator, denominator))


def draw_bounds(rule: PriceRule, before: int, units: int) -> tuple[int, int | None]:
    """The (low, high) within which taking `units` costs the same as after `before`.

    For every `used` with low <= used and used + units <= high the cost is that of `before`: a draw with these
    bounds is either charged rightly or refused, whatever others took in the meantime.
    """
    if units == 0 or not isinstance(rule.price, (Graduated, Volume)):
        return 0, None
    tier, bottom = _tier_of(rule.price.tiers, before + units)
    entered = before <= bottom
    if isinstance(rule.price, Graduated) and before < bottom:
        return before, before + units
    lowest = max(0, bottom + 1 - units) if isinstance(rule.price, Volume) else bottom
    if tier.flat_nanos == 0:
        return lowest, tier.up_to
    if not entered:
        return bottom + 1, tier.up_to
    highest = bottom + units
    return lowest, highest if tier.up_to is None else min(highest, tier.up_to)


def multiply(text: str) -> Ratio:
    """The multiplier that a decimal string such as "1.25" means."""
    return _reduced(*_decimal(text, "a multiplier"))


def scaled(rule: PriceRule, units: int, before: int = 0, multiplier: Ratio = ONE) -> Ratio:
    """The exact cost with its multipliers, before its minimum and before it is rounded."""
    if units < 0 or before < 0:
        raise MoneyError("Price a quantity of zero or more units.")
    numerator, denominator = rule.price.exact(units, before)
    if rule.multiplier is not ONE:
        numerator, denominator = numerator * rule.multiplier[0], denominator * rule.multiplier[1]
    if multiplier is not ONE:
        numerator, denominator = numerator * multiplier[0], denominator * multiplier[1]
    return numerator, denominator


def rounded(total: Ratio) -> int:
    """An exact cost in nanos, half up; MoneyError when it is more than a call may cost."""
    nanos = round_half_up(*total)
    if nanos > COST_MAX:
        raise MoneyError(f"Count fewer units at once: their cost is above {plain(COST_MAX)}.")
    return nanos


def _tier_of(tiers: tuple[Tier, ...], quantity: int) -> tuple[Tier, int]:
    bottom = 0
    for tier in tiers[:-1]:
        if tier.up_to is None or quantity <= tier.up_to:
            return tier, bottom
        bottom = tier.up_to
    return tiers[-1], bottom


def _tier_cost(tier: Tier, units: int, flat_nanos: int) -> Ratio:
    rate = tier.rate
    return units * rate.numerator + flat_nanos * rate.denominator, rate.denominator


def plus(a: Ratio, b: Ratio) -> Ratio:
    """The sum of two exact costs."""
    if a[1] == b[1]:
        return a[0] + b[0], a[1]
    return a[0] * b[1] + b[0] * a[1], a[1] * b[1]


def _reduced(numerator: int, denominator: int) -> Ratio:
    common = gcd(numerator, denominator)
    return numerator // common, denominator // common


def _decimal(text: str, what: str) -> Ratio:
    shape = whole_match(_DECIMAL, text)
    if shape is None:
        raise MoneyError(f'Write {what} as text like "0.15" with at most 18 decimals, not {shown(text)}.')
    whole, fraction = shape.groups("")
    return int(whole + fraction), 10 ** len(fraction)


def _check_nanos(nanos: int) -> None:
    if not 0 <= nanos <= COST_MAX:
        raise MoneyError(f"Give a price from 0 to {plain(COST_MAX)}.")


def _check_multiplier(multiplier: Ratio) -> None:
    if multiplier[0] < 0 or multiplier[1] < 1:
        raise MoneyError("Give a multiplier of zero or more.")


def _check_tiers(tiers: tuple[Tier, ...]) -> None:
    tops = [tier.up_to for tier in tiers]
    if not tops or tops[-1] is not None:
        raise MoneyError("Leave up_to out of the last tier, and only there, so that every unit has a price.")
    bottom = 0
    for top in tops[:-1]:
        if top is None or top <= bottom:
            raise MoneyError("Give every tier but the last an up_to above that of the tier before it.")
        bottom = top
