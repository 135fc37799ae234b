"""JSON that means one thing: no duplicate keys, no NaN, no half characters, no endless nesting."""

import json
from collections.abc import Iterator
from typing import Final, NoReturn

from metergate.errors import InvalidInput

DEPTH_MAX: Final = 32


def decode(data: bytes) -> object:
    """The value, or one sentence that says why there is none."""
    try:
        value: object = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()
    except InvalidInput:
        raise
    except UnicodeError:
        raise InvalidInput("Send JSON in UTF-8, every character whole.") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise InvalidInput(f"Send JSON that can be read: {error!s:.120}.") from None
    if _depth(value) > DEPTH_MAX:
        raise _too_deep()
    return value


def _too_deep() -> InvalidInput:
    return InvalidInput(f"Send JSON that is nested at most {DEPTH_MAX} levels deep.")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidInput(f"Send {_twice(pairs)[:40]!r} once; it stands there several times.")
    return found


def _twice(pairs: list[tuple[str, object]]) -> str:
    """The first name that stands a second time."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no name stands twice")


def _no_number(text: str) -> NoReturn:
    raise InvalidInput(f"Send numbers only, not {text}.")


def _depth(value: object) -> int:
    deepest = 0
    pending = [(value, 0)]
    while pending:
        each, depth = pending.pop()
        deepest = max(deepest, depth)
        pending += [(child, depth + 1) for child in _children(each)]
    return deepest


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
