"""A number somewhere in a JSON body."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from metergate.core.money import MoneyError, units
from metergate.meters.counter import Counter, Headers

BODY_MAX = 1024 * 1024

Path = tuple[str | int, ...]

_STEP = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\['([^']+)'\]|\["([^"]+)"\]|\[([0-9]{1,6})\]""")
_PLAIN = re.compile(r"[A-Za-z0-9_ .:$-]+")
_ESCAPED_ASCII = b"\\u00"
_AMBIGUOUS = object()


class JsonPath(Counter):
    """The number at a path such as `$.usage.total`, in the response or in the request.

    Bodies beyond `BODY_MAX` and encoded ones are not looked into.
    """

    def __init__(self, path: str, of: str = "response") -> None:
        self.wants_request = of == "request"
        self._path = compiled(path)
        self._kept: list[bytes] = []
        self._room = BODY_MAX
        self._readable = True

    def request(self, chunk: bytes) -> None:
        if self.wants_request:
            self._keep(chunk)

    def start(self, status: int, headers: Headers) -> None:
        if not self.wants_request:
            self._readable = all(
                value.strip().lower() in (b"", b"identity")
                for name, value in headers
                if name.lower() == b"content-encoding"
            )

    def feed(self, chunk: bytes) -> None:
        if not self.wants_request:
            self._keep(chunk)

    def finish(self) -> int | None:
        body = b"".join(self._kept)
        if not self._readable or self._room < 0 or not body:
            return None
        try:
            found = look_up(_decoded(body, self._path), self._path)
            return units(found)
        except (MoneyError, LookupError, ValueError, RecursionError):
            return None

    def _keep(self, chunk: bytes) -> None:
        self._room -= len(chunk)
        if self._room < 0:
            self._kept.clear()
        elif self._readable:
            self._kept.append(chunk)


@lru_cache(maxsize=256)
def compiled(path: str) -> Path:
    """The steps of a path; ValueError when it is none."""
    at = 1
    steps: list[str | int] = []
    while path.startswith("$") and at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            break
        steps.append(int(step[4]) if step[4] else step[1] or step[2] or step[3])
        at = step.end()
    if at < len(path) or not path.startswith("$"):
        raise ValueError(f"Write a path such as $.usage.total, $.rows[0].size or $['a b'], not {path!r}.")
    return tuple(steps)


def look_up(value: object, path: Path) -> object:
    """What lies at the path; None or LookupError when nothing does."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _decoded(body: bytes, path: Path) -> object:
    if not _may_repeat(body, path):
        return msgspec.json.decode(body)
    # Readers disagree on which of two equal names counts, so neither does.
    return json.loads(body, object_pairs_hook=_distinct, parse_int=str)


def _may_repeat(body: bytes, path: Path) -> bool:
    """Whether a name of the path may stand twice in one object; never wrong when it says no."""
    names = [step for step in path if isinstance(step, str)]
    if not all(_PLAIN.fullmatch(name) for name in names) or _ESCAPED_ASCII in body:
        return True
    return any(body.count(b'"%s"' % name.encode()) > 1 for name in names)


def _distinct(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                found[name] = _AMBIGUOUS
            seen.add(name)
    return found
