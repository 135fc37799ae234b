"""Names of headers in lower case: one object each, so that whoever looks one up need not read it again."""

REMEMBERED = 1024
NAME_REMEMBERED = 64
"""Longer names are looked at every time; a stranger may send any number of any length."""

lowered: dict[bytes, bytes] = {}
"""Look here first, and ask `lower` for what is missing: nearly every name was seen before."""


def lower(name: bytes) -> bytes:
    low = name.lower()
    if len(lowered) < REMEMBERED and len(name) <= NAME_REMEMBERED:
        low = lowered.setdefault(low, low)
        lowered[name] = low
    return low
