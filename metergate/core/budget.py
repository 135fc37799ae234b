"""Budgets: everything a call draws from, each of them one integer.

A store keeps a flat mapping from budget name to value and changes it only through the functions of this
file; the Lua scripts of a Redis store are tested against them.

    BALANCE   available nanos            taken when  value - amount >= low
    QUOTA     used units or nanos        taken when  low <= value and value + amount <= high
    RATE      GCRA arrival time in us    taken when  the burst tolerance `high` is kept; `low` is the interval
    SLOTS     calls that are open now,   taken when  value + amount <= high
              or the nanos that they hold

An account whose balance is unknown has no generation either, and its holds are refused as stale; the other
kinds begin at zero, for a new window has no counter yet.
"""

from typing import NamedTuple

BALANCE, QUOTA, RATE, SLOTS = range(4)
KINDS = ("balance", "quota", "rate", "slots")

# What a settle puts in the place of the held amount: the cost, the counted units, or nothing (rates, slots).
COST, UNITS, CALL = range(3)

UNBOUNDED = 2**62


class Draw(NamedTuple):
    """One amount from one budget, with the bounds inside which it may be taken."""

    kind: int
    name: str
    amount: int
    low: int
    high: int
    until_us: int = 0
    """When nobody asks for this budget any more (the end of its window); 0 is for ever."""
    follows: int = CALL


def take(draw: Draw, value: int, now_us: int) -> int | None:
    """The value after the draw, or None when it does not fit."""
    kind, _, amount, low, high, _, _ = draw
    if kind == BALANCE:
        left = value - amount
        return left if left >= low else None
    if kind == QUOTA:
        used = value + amount
        return used if value >= low and used <= high else None
    if kind == RATE:
        arrival = _arrival(draw, value, now_us) + amount * low
        return arrival if arrival - now_us <= high else None
    opened = value + amount
    return opened if opened <= high else None


def _arrival(draw: Draw, value: int, now_us: int) -> int:
    """When the next call may come; what lies far beyond the tolerance is of a clock that has gone back."""
    return value if now_us < value <= now_us + 2 * draw.high else now_us


def correct(draw: Draw, value: int, actual: int) -> int:
    """The value once the held amount turned out to be `actual`; a release is a correction to zero."""
    kind = draw.kind
    if kind == BALANCE:
        return value + draw.amount - actual
    if kind == QUOTA:
        return max(0, value - draw.amount + actual)
    if kind == SLOTS:
        return max(0, value - draw.amount)
    return value


def unbounded(draw: Draw) -> Draw:
    """The same draw where it always fits, for what was admitted before the store lost it."""
    if draw.kind == RATE:
        return draw._replace(amount=0, low=0)
    return draw._replace(low=-UNBOUNDED, high=UNBOUNDED)


def retry_after_us(draw: Draw, value: int, now_us: int) -> int:
    """How long until a refused rate draw fits."""
    return max(0, _arrival(draw, value, now_us) + draw.amount * draw.low - now_us - draw.high)


def remaining(draw: Draw, value: int, now_us: int) -> int:
    """What the budget still allows, in its own unit (calls for rates)."""
    if draw.kind == BALANCE:
        return max(0, value - draw.low)
    if draw.kind == RATE:
        return max(0, (draw.high - (_arrival(draw, value, now_us) - now_us)) // draw.low)
    return max(0, draw.high - value)


def actual_amounts(draws: tuple[Draw, ...], units: int, cost: int) -> tuple[int, ...]:
    """What each draw really came to, in the order of the draws."""
    return tuple([cost if d.follows == COST else units if d.follows == UNITS else d.amount for d in draws])
