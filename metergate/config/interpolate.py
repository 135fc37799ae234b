"""`${NAME}`, `${NAME:-default}` and `$$` inside the values of a policy file."""

import re
from collections.abc import Mapping

_HOLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<inside>[^}]*)(?P<end>\}?))")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


class Hidden(str):
    """A text that may hold a secret: it works like any other and does not show in a repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'" if self else "''"


class MissingError(ValueError):
    """A variable that is not set, or a hole that cannot be read."""


def fill(text: str, environ: Mapping[str, str]) -> str:
    """The text with its holes filled."""
    return _HOLE.sub(lambda found: _filled(found, environ), text)


def has_holes(text: str) -> bool:
    return "${" in text and any(not found["dollar"] for found in _HOLE.finditer(text))


def _filled(found: re.Match[str], environ: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    inside = _INSIDE.fullmatch(found["inside"]) if found["end"] else None
    if inside is None:
        raise MissingError("write ${NAME} or ${NAME:-default}, and $$ for a dollar sign")
    name, default = inside["name"], inside["default"]
    known = environ.get(name, "")
    if known or default is not None:
        return known or default
    state = "empty" if name in environ else "not set"
    raise MissingError(f"the environment variable {name} is {state}; set it, or write ${{{name}:-default}}")
