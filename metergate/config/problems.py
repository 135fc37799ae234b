"""What is wrong with a policy: one problem per line, all of them at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from metergate.errors import ConfigurationError

Where = tuple[str | int, ...]
"""The way from the top of the file to a value: `("plans", "free", "limits", 0, "rate")`."""

SHOWN_MAX = 200
_COMPARED_MAX = 500
_LISTED_MAX = 8


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to change, and where it stands; what came from a dictionary has no line."""

    file: str
    line: int
    column: int
    message: str
    warning: bool = False
    """The policy loads all the same."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {'warning: ' if self.warning else ''}{self.message}"


class PolicyError(ConfigurationError):
    """The policy cannot be used; its text has one line for each problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN_MAX]]
        if len(self.problems) > SHOWN_MAX:
            lines.append(f"… and {len(self.problems) - SHOWN_MAX} more")
        super().__init__("\n".join(lines))


def dotted(where: Where) -> str:
    """The way as people write it: `plans.free.limits[0].rate`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in where]
    return "".join(parts).removeprefix(".")


def sentence(where: Where, text: str) -> str:
    """The message of a problem: first the way to it, then what to do."""
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    text = text.removesuffix(".")
    return f"{dotted(where)}: {text}" if where else text


def hint(name: str, options: Iterable[str]) -> str:
    """How an unknown name might have been meant, to be appended to a message."""
    known = [option for option, _ in zip(options, range(_COMPARED_MAX), strict=False)]
    close = get_close_matches(name[:64], known, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    if 0 < len(known) <= _LISTED_MAX:
        return f"; use {one_of(known)}"
    return ""


def one_of(options: Sequence[str]) -> str:
    """`"a", "b" or "c"`."""
    quoted = [f'"{option}"' for option in options]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
