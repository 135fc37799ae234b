"""What every counter can do. A third party's counter is a subclass of this one."""

from collections.abc import Callable, Sequence

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
