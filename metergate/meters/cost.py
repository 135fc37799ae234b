"""The cost that an upstream reports of a call, as units of 10⁻⁹ of the currency.

It is a decimal number in JSON or in a header, and nothing else: what is negative, endless or beyond the
policy's bound is not believed. The meter's price makes money of it: "1" per 1_000_000_000, times the margin.
"""

import json
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from metergate.core.money import COST_MAX, NANOS
from metergate.meters.counter import Counter, Headers
from metergate.meters.json_path import Path, compiled, distinct, look_up, marker
from metergate.meters.plain import Header
from metergate.meters.watched import Watched

DIGITS_MAX = 40


def nanos(text: str, most: int) -> int | None:
    """A decimal number as whole nanos, half up; None when it is none, or cannot be believed."""
    if len(text) > DIGITS_MAX:
        return None
    try:
        amount = Decimal(text)
        if not amount.is_finite() or (amount.is_signed() and amount) or amount.adjusted() > len(str(most)):
            return None
        found = int((amount * NANOS).to_integral_value(ROUND_HALF_UP))
    except InvalidOperation:
        return None
    return found if found <= most else None


class CostInHeader(Header):
    def __init__(self, name: str, most: int = COST_MAX) -> None:
        super().__init__(name, most)

    def finish(self) -> int | None:
        value = self.value()
        return None if value is None else nanos(value, self._most)


class CostInJson(Counter):
    """At a path of the body; in a stream, of the last event that has it."""

    def __init__(self, path: str, most: int = COST_MAX) -> None:
        self._path: Path = compiled(path)
        self._most = most
        self._watched = Watched(marker(self._path))

    def start(self, status: int, headers: Headers) -> None:
        self._watched.start(headers)

    def feed(self, chunk: bytes) -> None:
        self._watched.feed(chunk)

    def finish(self) -> int | None:
        self._watched.finish()
        text = self._watched.last_data() if self._watched.streams else self._watched.body()
        try:
            value = json.loads(
                text, object_pairs_hook=distinct, parse_int=Number, parse_float=Number, parse_constant=Number
            )
            found = look_up(value, self._path)
        except (ValueError, LookupError, RecursionError):
            return None
        return nanos(found, self._most) if isinstance(found, Number) else None


class Number(str):
    """A number of a JSON text as it is written there, so that no digit of it is lost."""

    __slots__ = ()
