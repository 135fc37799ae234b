"""A dated table of what models cost. It is compiled once, from a library's data, into integers.

A model has prices that hold from an instant on or at certain hours, and variants of them for calls that ask
for more or less than the ordinary service. Whoever asks names the instant: a table reads no clock.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from metergate.core.price import ByPrompt, PerUnit

DAY_US: Final = 86_400 * 10**6
SERVICES: Final = ("service_tier", "speed", "inference_geo")
"""Dimensions by which a call asks for another service of a model, at another price."""
REMEMBERED: Final = 1024

Prices = Mapping[str, PerUnit | ByPrompt]
"""Kind -> its price."""


class Span(NamedTuple):
    """When a price holds, in microseconds of UTC."""

    since_us: int = 0
    hours_us: tuple[int, int] | None = None
    """From and until when of every day; it may go over midnight."""

    def holds(self, now_us: int) -> bool:
        if now_us < self.since_us:
            return False
        if self.hours_us is None:
            return True
        (begin, end), now = self.hours_us, now_us % DAY_US
        return begin <= now < end if begin <= end else now >= begin or now < end


class Variant(NamedTuple):
    """Prices in place of the ordinary ones, for calls with these dimensions."""

    when: Mapping[str, str]
    span: Span
    prices: Prices


class Listing(NamedTuple):
    """One model."""

    id: str
    pattern: re.Pattern[str]
    """What names of the model look like, in small letters."""
    dated: Sequence[tuple[Span, Prices]]
    """The first that holds decides, and the last where none does."""
    variants: Sequence[Variant] = ()

    def prices(self, dimensions: Mapping[str, str], now_us: int) -> Prices:
        """None where it is not known what the service costs that is asked for."""
        if not all(self._knows(name, dimensions[name]) for name in SERVICES if name in dimensions):
            return {}
        held = [prices for span, prices in self.dated if span.holds(now_us)]
        found = dict(held[0] if held else self.dated[-1][1])
        for variant in reversed(self.variants):
            fits = all(dimensions.get(name) == value for name, value in variant.when.items())
            if fits and variant.span.holds(now_us):
                found.update(variant.prices)
        return found

    def _knows(self, name: str, value: str) -> bool:
        return any(variant.when.get(name) == value for variant in self.variants)


class Table:
    def __init__(self, name: str, listings: Sequence[Listing]) -> None:
        self.name = name
        """Which table it is, of which version; recorded with what is charged by it."""
        self.listings = listings
        self._found: dict[str, Listing | None] = {}

    def find(self, model: str) -> Listing | None:
        """The first listing that the name fits; None where the table does not know the model."""
        model = model.lower()
        if model not in self._found:
            if len(self._found) >= REMEMBERED:  # anybody may ask for any name
                self._found.clear()
            fits = (each for each in self.listings if each.pattern.search(model))
            self._found[model] = next(fits, None)
        return self._found[model]
