"""The foundations that are open in this process: one a place.

Several MeterGates over the same data folder, or over the same store, share one; the first to come opens it,
the last to leave closes it.
"""

import asyncio
from weakref import WeakKeyDictionary

from metergate.config.plugins import adapter_of_store
from metergate.config.settings import Settings
from metergate.core.policy import Policy
from metergate.errors import ConfigurationError
from metergate.foundation import Embedded, Foundation, OnFolder, Shared, now_us
from metergate.ports import Clock

_open: dict[str, tuple[Foundation, int]] = {}
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def at_home(place: str) -> OnFolder | None:
    """Who answers for a place, where that is somebody in this event loop."""
    known, _ = _open.get(place, (None, 0))
    if known is None or known.loop is not asyncio.get_running_loop() or not known.engines:
        return None
    return known.engines[0]


async def join(policy: Policy, settings: Settings, clock: Clock = now_us) -> Foundation:
    """The foundation of a place, opened by whoever comes first."""
    async with _turn():
        _let_go_of_closed_loops()
        kind = Shared if adapter_of_store(policy.store) else Embedded
        made = kind(policy, settings, clock)
        known, users = _open.get(made.place, (None, 0))
        if known is not None and known.loop is not made.loop:
            raise ConfigurationError(
                f"The data folder {made.place} is in use by another event loop of this process; give each "
                "loop its own folder with METERGATE_DATA."
            )
        if known is None:
            await made.open()
        _open[made.place] = (known or made, users + 1)
        return known or made


async def leave(foundation: Foundation) -> None:
    """Stop using a foundation; the last one closes it."""
    async with _turn():
        known, users = _open.get(foundation.place, (None, 0))
        if known is not foundation:
            return  # it was let go of
        if users > 1:
            _open[foundation.place] = (foundation, users - 1)
            return
        del _open[foundation.place]
        await foundation.close()


def abandon(foundation: Foundation) -> None:
    """Let go of a foundation whose event loop has been closed under it."""
    known, _ = _open.get(foundation.place, (None, 0))
    if known is foundation:
        del _open[foundation.place]
        foundation.abandon()


def _turn() -> asyncio.Lock:
    """Those who come and go at the same moment do so one after the other."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def _let_go_of_closed_loops() -> None:
    for known, _ in tuple(_open.values()):
        if known.loop.is_closed():
            abandon(known)
