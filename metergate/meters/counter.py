"""What every counter can do. A third party's counter is a subclass of this one."""

from collections.abc import Callable, Sequence

from metergate.core.kinds import Counts
from metergate.core.money import UNITS_MAX, MoneyError, units

Clock = Callable[[], int]
"""Microseconds since the epoch, UTC."""

Headers = Sequence[tuple[bytes, bytes]]


class Counter:
    """Watches one call go by and says at its end how many units it used.

    It is told what passes and never asks, so it works under any server and any client. A number that is
    missing or cannot be believed is None, never zero: what such a call costs is for the policy to say.
    """

    wants_request = False
    """Whether it wants to see the body of the request."""
    counts: Counts = ()
    """The units by kind, where they are of several; known with the units."""
    failed = False
    """Whether the answer says that the call failed, whatever its status; known at the end."""
    measured_when_cut = "cut"
    """How the units of an answer that was cut off are called, where they are known all the same."""

    def request(self, chunk: bytes) -> None:
        """A part of the request's body, or a message that the client sent."""

    def start(self, status: int, headers: Headers) -> None:
        """The head of the response; its names are in lower case."""

    def feed(self, chunk: bytes) -> None:
        """A part of the response's body, or a message that the client received."""

    def message(self) -> None:
        """A message of a WebSocket went by, in either direction."""

    def finish(self) -> int | None:
        """The units that were used."""
        raise NotImplementedError(f"Give {type(self).__name__} a finish().")

    def estimate(self) -> int | None:
        """About what was used, where `finish` does not know; None where nothing can be said."""
        return None


def believed(value: object, most: int = UNITS_MAX) -> int | None:
    """A number from outside as units; None when it is none, or more than can be."""
    try:
        found = units(value)
    except MoneyError:
        return None
    return found if found <= most else None
