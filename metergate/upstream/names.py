"""Names of headers in lower case: one object each, so that whoever looks one up need not read it again."""

REMEMBERED = 1024
NAME_REMEMBERED = 64
"""Longer names are looked at every time; a stranger may send any number of any length."""


class Names(dict[bytes, bytes]):
    def __missing__(self, name: bytes) -> bytes:
        low = name.lower()
        if len(self) < REMEMBERED and len(name) <= NAME_REMEMBERED:
            low = self.setdefault(low, low)
            self[name] = low
        return low


lower = Names()
"""`lower[name]` is the name in lower case."""
