"""What a socket has set aside: its first hold, and a further stretch whenever it outgrows what is held."""

import asyncio
from collections.abc import Awaitable

from metergate.core.refusal import Refusal
from metergate.errors import StoreUnavailable
from metergate.gate.call import Call

LONGEST = 1024
"""A stretch grows to this many times the first."""


class SocketHolds:
    """The holds of one socket. At most two are open: the first, which stands for the socket, and the last.

    Every stretch is twice as long as the one before, so that a socket of any length takes few of them. A
    stretch is settled in full as soon as the next one is granted.
    """

    def __init__(self, call: Call) -> None:
        self.used = 0
        self.held = max(1, call.prepared.offer.units)
        self.refused: Refusal | None = None
        """Why the socket gets no further stretch."""
        self._call = call
        self._last = call
        self._first_units = self._last_units = self._stretch = self._step = self.held
        # The app may listen and talk at the same time, and the store may take its time.
        self._one_by_one = asyncio.Lock()

    async def take(self, units: int) -> None:
        """Count units that are about to pass; when they cannot be held, nothing is counted."""
        async with self._one_by_one:
            await self._reach(self.used + units)
            if self.refused is None:
                self.used += units

    async def extend(self) -> None:
        """Hold a further stretch although nothing was counted."""
        async with self._one_by_one:
            await self._reach(self.held + 1)

    async def _reach(self, units: int) -> None:
        if units <= self.held or self.refused is not None:
            return
        needed = max(self._first_units, units - self.held)
        self._step = max(self._step, needed)
        asked = max(self._stretch, needed)
        charged = await self._charge(asked)
        if asked > needed and (isinstance(charged, Refusal) or charged.shadow is not None):
            if isinstance(charged, Call):
                charged.release()
            asked = needed
            charged = await self._charge(asked)
        if isinstance(charged, Refusal):
            self.refused = charged
            return
        self._stretch = min(2 * asked, LONGEST * self._step)
        self._settle_last()
        self._last, self._last_units = charged, asked
        self.held += asked

    async def _charge(self, units: int) -> Call | Refusal:
        asked = self._call.gate.charge(self._call, self._call.route.meter, units)
        charged = await asked if isinstance(asked, Awaitable) else asked
        return charged if isinstance(charged, Refusal) else dispatched(charged) or charged

    def _settle_last(self) -> None:
        """The last stretch is full. Only the first hold stays: it counts as the one open call."""
        last, call = self._last, self._call
        if last is not call:
            last.settle(self._last_units)
        call.charges = tuple(charge for charge in call.charges if not charge.ended)

    def settle(self, used: int) -> None:
        """End the socket; the last hold takes what is left, be it more than it holds."""
        if self._last is not self._call:
            left = used - (self.held - self._last_units)
            if left > 0:
                self._last.settle(left)
            else:
                self._last.release()
            used = min(used, self._first_units)
        self._call.settle(used)


def dispatched(call: Call) -> Refusal | None:
    """Remember that the call goes on; a call that cannot be remembered is not begun."""
    try:
        call.dispatched()
    except StoreUnavailable as error:
        call.release()
        return Refusal("store_unavailable", str(error))
    return None
