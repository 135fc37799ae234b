"""Which window usage falls into, and what an intent for it is called: pure functions, the same for ever."""

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Final

from metergate.ledger.push_windows import Grid

SECOND_US: Final = 10**6
MINUTE_US: Final = 60 * SECOND_US
DAY_US: Final = 86_400 * SECOND_US


def regridded(grids: Sequence[Grid], length_us: int, now_us: int) -> list[Grid]:
    """The grids with windows of another length from now on: no instant is ever in two windows."""
    begun = [grid for grid in grids if grid[0] <= now_us]
    if not begun:
        return [(0, length_us)]
    if begun[-1][1] == length_us:
        return begun
    whole = math.lcm(begun[-1][1], length_us)
    return [*begun, ((now_us // whole + 1) * whole, length_us)]


def cell_of(grids: Sequence[Grid], at_us: int) -> tuple[int, int]:
    """The cell of the grid that an instant is in."""
    length = next(length for cut, length in reversed(grids) if cut <= at_us)
    start = at_us // length * length
    return start, start + length


def pieces(start_us: int, end_us: int, since_us: int, splits: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The windows in a cell: cut where periods end, and from when on the provider knew the account."""
    start = max(start_us, since_us)
    inner = sorted(cut for cut in splits if start < cut < end_us)
    for left, right in zip([start, *inner], [*inner, end_us], strict=True):
        if left < right:
            yield left, right


def instant(start_us: int, end_us: int) -> int:
    """When usage of a window is said to have been: well inside, however coarse the provider's clock is."""
    return (start_us + end_us) // 2


def whole_minutes(start_us: int, end_us: int) -> tuple[int, int]:
    return start_us // MINUTE_US * MINUTE_US, -(-end_us // MINUTE_US) * MINUTE_US


def identifier(space: str, whose: Sequence[str], meter: str, window: tuple[int, int], revision: int) -> str:
    """Made from what is counted, in this ledger, and never from the attempt to send it."""
    told = json.dumps([space, *whose, meter, *window, revision])
    return "mg_" + base64.b32encode(hashlib.sha256(told.encode()).digest()).decode().rstrip("=").lower()
