"""A clock that stands still until it is told otherwise."""

START_US = 1_767_225_600_000_000
"""Midnight UTC of 1 January 2026."""


class FakeClock:
    """Microseconds since the epoch, as metergate asks for them."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def advance(self, *, seconds: float = 0, us: int = 0) -> int:
        """Let time pass; answers the new instant."""
        self.now_us += round(seconds * 10**6) + us
        return self.now_us
