"""What a batch of holds takes from the budgets, before it is in the journal and counts."""

from collections.abc import Mapping, Sequence

import msgspec

from metergate.core.budget import Draw, take
from metergate.ports import DENIED, GRANTED, Held, Hold

UNDISPATCHED = -1
new_tuple = tuple.__new__


class Open(msgspec.Struct, eq=False, gc=False):
    """A hold that has not ended."""

    hold: Hold
    values: tuple[int, ...]
    expires_at_us: int
    position: int
    """Where the journal tells that the call was dispatched."""


class Taking:
    __slots__ = ("_before", "_now_us", "after", "dispatched", "opened", "windows")

    def __init__(self, before: Mapping[str, int], now_us: int) -> None:
        self._before = before
        self._now_us = now_us
        self.after: dict[str, int] = {}
        """The budgets that were drawn from."""
        self.opened: dict[str, Open] = {}
        self.dispatched: list[Open] = []
        """Those that go on as soon as they are granted."""
        self.windows: list[tuple[int, str]] = []
        """Windows that begin, and when they end."""

    def take(self, hold: Hold) -> Held:
        """All draws of a hold or none. The way of every call, and therefore one function."""
        op, _, _, draws, expires_at_us, _, _, _, dispatched = hold
        before, after, now_us = self._before, self.after, self._now_us
        values: dict[str, int] = {}
        begins = False
        for draw in draws:
            name = draw.name
            value = after.get(name)
            if value is None and (value := before.get(name)) is None:
                value, begins = 0, True
            taken = take(draw, value, now_us)
            if taken is None:
                return Held(DENIED, position=len(values), value=value)
            values[name] = taken
        if begins:
            self._note_windows(draws)
        after.update(values)
        granted = tuple(values.values())
        self.opened[op] = opened = Open(hold, granted, expires_at_us, UNDISPATCHED)
        if dispatched:
            self.dispatched.append(opened)
        return new_tuple(Held, (GRANTED, granted, 0, 0, None))

    def _note_windows(self, draws: Sequence[Draw]) -> None:
        for draw in draws:
            if draw.until_us and draw.name not in self._before and draw.name not in self.after:
                self.windows.append((draw.until_us, draw.name))
