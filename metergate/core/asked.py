"""What a request says of its own price, once its body was read: before the call, and so of what to hold."""

from typing import NamedTuple

from metergate.core.kinds import Counts

Dimensions = tuple[tuple[str, str], ...]


class Asked(NamedTuple):
    dimensions: Dimensions = ()
    """Such as the model; they choose the price, beside those of the route."""
    units: int | None = None
    """None where the route says what to hold."""
    counts: Counts = ()
    """The same units by kind, where they are of several."""


NOTHING = Asked()
