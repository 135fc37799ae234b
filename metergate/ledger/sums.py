"""Sums of columns that may not fit in 64 bits, which SQLite refuses to add up.

The upper and the lower 32 bits are summed for themselves and put together here, where integers have no end.
"""

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

BITS = 32


def halves(amount: sa.ColumnElement[int]) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """The two columns of a query that `whole` puts together."""
    # PostgreSQL shifts by a plain integer only, and a bound one would be a bigint.
    upper = amount.bitwise_rshift(sa.literal_column(str(BITS)))
    return sa.func.sum(upper), sa.func.sum(amount.bitwise_and(2**BITS - 1))


def whole(upper: int | Decimal, lower: int | Decimal) -> int:
    return (int(upper) << BITS) + int(lower)
