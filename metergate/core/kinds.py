"""The kinds of units in one count of tokens.

They are exclusive: a token that was read from a cache is no `input`, one that was spent on reasoning is no
`output`. So a count is the sum of its kinds and nothing is charged twice. A kind without a price of its own
costs what its parent costs.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

Counts = tuple[tuple[str, int], ...]
"""Units by kind, in the order of `PARENTS`, without zeros."""

ANY = ""
"""The parent of all tokens: what a price without `kind` is for."""

PARENTS: Mapping[str, str] = MappingProxyType(
    {
        "input": ANY,
        "cached_input": "input",
        "cache_write": "input",
        "cache_write_1h": "cache_write",
        "image_input": "input",
        "cached_image_input": "image_input",
        "video_input": "input",
        "audio_input": "input",
        "cached_audio_input": "audio_input",
        "output": ANY,
        "reasoning": "output",
        "image_output": "output",
        "video_output": "output",
        "audio_output": "output",
    }
)

SEARCH = "search"
"""Web searches that the model made. They are no tokens, so no token's price is theirs."""

KINDS = (*PARENTS, SEARCH)


def lineage(kind: str) -> tuple[str, ...]:
    """The kind, its parent, and so on: whose price it may have, the nearest first."""
    found = [kind]
    while (parent := PARENTS.get(found[-1])) is not None:
        found.append(parent)
    return tuple(found)


_INPUT = frozenset(kind for kind in PARENTS if "input" in lineage(kind))
_OUTPUT = PARENTS.keys() - _INPUT


def counts(units: Mapping[str, int]) -> Counts:
    """Units by kind in their one form."""
    return tuple([(kind, units[kind]) for kind in KINDS if units.get(kind)])


def total(counted: Iterable[tuple[str, int]]) -> int:
    return sum([units for _, units in counted])


def prompt(counted: Iterable[tuple[str, int]]) -> int:
    """How much of it went into the model."""
    return sum([units for kind, units in counted if kind in _INPUT])


def output(counted: Iterable[tuple[str, int]]) -> int:
    """How much of it the model has made."""
    return sum([units for kind, units in counted if kind in _OUTPUT])


def without_output(counted: Iterable[tuple[str, int]]) -> dict[str, int]:
    return {kind: units for kind, units in counted if kind not in _OUTPUT}
