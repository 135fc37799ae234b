"""A number somewhere in a JSON body."""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from metergate.core.money import MoneyError, units
from metergate.meters.counter import Counter, Headers

BODY_MAX = 8 * 1024 * 1024
"""The bytes of a body that are kept and looked into, also once it is decoded."""

GZIP, ZLIB, RAW_DEFLATE = 31, 15, -15
"""How zlib is told what it reads; what HTTP calls deflate is either of the last two."""
WINDOWS: Mapping[bytes, tuple[int, ...]] = {
    b"gzip": (GZIP,),
    b"x-gzip": (GZIP,),
    b"deflate": (ZLIB, RAW_DEFLATE),
}

Path = tuple[str | int, ...]

_STEP = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\['([^']+)'\]|\["([^"]+)"\]|\[([0-9]{1,6})\]""")
_PLAIN = re.compile(r"[A-Za-z0-9_ .:$-]+")
_ESCAPED_ASCII = b"\\u00"
_AMBIGUOUS = object()


class JsonPath(Counter):
    """The number at a path such as `$.usage.total`, in the response or in the request.

    Bodies beyond `BODY_MAX` are not looked into, nor those in encodings other than gzip and deflate.
    """

    def __init__(self, path: str, of: str = "response") -> None:
        self.wants_request = of == "request"
        self._path = compiled(path)
        self._kept: list[bytes] = []
        self._room = BODY_MAX
        self._windows: tuple[int, ...] = ()
        self._readable = True

    def request(self, chunk: bytes) -> None:
        if self.wants_request:
            self._keep(chunk)

    def start(self, status: int, headers: Headers) -> None:
        if not self.wants_request:
            encodings = _encodings(headers)
            self._readable = len(encodings) <= 1 and all(each in WINDOWS for each in encodings)
            self._windows = WINDOWS[encodings[0]] if self._readable and encodings else ()

    def feed(self, chunk: bytes) -> None:
        if not self.wants_request:
            self._keep(chunk)

    def finish(self) -> int | None:
        body = b"".join(self._kept)
        if not self._readable or self._room < 0 or not body:
            return None
        try:
            found = look_up(_decoded(_unpacked(body, self._windows), self._path), self._path)
            return units(found)
        except (MoneyError, LookupError, ValueError, RecursionError, zlib.error):
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


def _encodings(headers: Headers) -> list[bytes]:
    named = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
    found = [each.strip().lower() for each in named.split(b",")]
    return [each for each in found if each not in (b"", b"identity")]


def _unpacked(body: bytes, windows: tuple[int, ...]) -> bytes:
    """The body as it was before it was encoded; ValueError when that is too much, or no end is there."""
    if not windows:
        return body
    *others, last = windows
    for window in others:
        try:
            return _inflated(body, window)
        except zlib.error:
            continue
    return _inflated(body, last)


def _inflated(body: bytes, window: int) -> bytes:
    unpacker = zlib.decompressobj(window)
    found = unpacker.decompress(body, BODY_MAX + 1)
    if len(found) > BODY_MAX or not unpacker.eof or unpacker.unused_data:
        raise ValueError("The body is too long, or cut off, or followed by something else.")
    return found


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
