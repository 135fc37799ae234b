"""What adapters need alike: ids that fit, instants in texts, and what became of what was done."""

import hashlib
from collections.abc import Awaitable
from datetime import datetime
from typing import TypeVar

from metergate.provider_port.errors import TryAgain, UnknownOutcome

T = TypeVar("T")


async def read_back(reading: Awaitable[T]) -> T:
    """What became of what was done: who cannot be asked now has done it all the same."""
    try:
        return await reading
    except TryAgain as busy:
        raise UnknownOutcome(f"It was done, and cannot be asked for now: {busy}") from busy


def fitting(id: str, most: int) -> str:
    """An id of ours where a provider takes at most so many characters: as it is, or its digest."""
    return id if len(id) <= most else hashlib.sha256(id.encode()).hexdigest()[:most]


def instant_us(text: str) -> int:
    """An instant in ISO 8601, to the second; ValueError where it has no zone, or is none."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("It has no zone.")
    return int(at.timestamp()) * 10**6
