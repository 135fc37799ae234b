"""What `metergate doctor` says: one sentence per finding, and how bad it is."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from metergate.ports import Danger


class Finding(NamedTuple):
    ok: bool
    sentence: str
    mind: bool = False
    """Whether it is no mistake, and yet something to know."""

    @property
    def mark(self) -> str:
        return "mind" if self.ok and self.mind else "ok" if self.ok else "no"


def of_dangers(dangers: Iterable[Danger], *, strict: bool) -> Iterator[Finding]:
    """What the start would refuse is wrong; what it would warn of is to be minded."""
    for danger in dangers:
        refused = danger.always or (strict and danger.strict)
        yield Finding(not refused, f"{danger.sentence[:1].upper()}{danger.sentence[1:]}.", mind=True)
