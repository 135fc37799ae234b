"""A number somewhere in a JSON body."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from metergate.core.money import UNITS_MAX
from metergate.meters.counter import Counter, Headers, believed
from metergate.meters.events import BOM
from metergate.meters.watched import Watched

Path = tuple[str | int, ...]

_STEP = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\['([^']+)'\]|\["([^"]+)"\]|\[([0-9]{1,6})\]""")
_PLAIN = re.compile(r"[A-Za-z0-9_ .:$-]+")
_ESCAPED_ASCII = b"\\u00"
AMBIGUOUS = object()
"""The value of a name that stands twice in one object: readers disagree on which counts, so neither does."""


class JsonPath(Counter):
    """The number at a path such as `$.usage.total` in the answer; in a stream, in the last event that has it.

    Bodies beyond `BODY_MAX` are not looked into, nor those in encodings other than gzip and deflate.
    """

    def __init__(self, path: str, most: int = UNITS_MAX) -> None:
        self._path = compiled(path)
        self._most = most
        self._watched = Watched(marker(self._path))

    def start(self, status: int, headers: Headers) -> None:
        self._watched.start(headers)

    def feed(self, chunk: bytes) -> None:
        self._watched.feed(chunk)

    def finish(self) -> int | None:
        self._watched.finish()
        text = self._watched.last_data() if self._watched.streams else self._watched.body()
        try:
            return believed(look_up(decoded(text, self._path), self._path), self._most)
        except (LookupError, ValueError, RecursionError):
            return None


def marker(path: Path) -> bytes:
    """What stands in every text that has something at the path; escapes may hide all but its first quote."""
    names = [step for step in path if isinstance(step, str)]
    return b'"%s"' % names[-1].encode() if names and _PLAIN.fullmatch(names[-1]) else b'"'


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


def decoded(body: bytes, path: Path) -> object:
    body = body.removeprefix(BOM)
    if not _may_repeat(body, path):
        return msgspec.json.decode(body)
    return json.loads(body, object_pairs_hook=distinct, parse_int=str)


def _may_repeat(body: bytes, path: Path) -> bool:
    """Whether a name of the path may stand twice in one object; never wrong when it says no."""
    names = [step for step in path if isinstance(step, str)]
    if not all(_PLAIN.fullmatch(name) for name in names) or _ESCAPED_ASCII in body:
        return True
    return any(body.count(b'"%s"' % name.encode()) > 1 for name in names)


def distinct(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                found[name] = AMBIGUOUS
            seen.add(name)
    return found
