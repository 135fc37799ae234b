"""What the body of a request says, read before the call and in one way only.

What costs money must mean the same to the gate and to whoever serves the call, so a name that stands twice,
or in another case, is no reading but a refusal.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from metergate.meters.json_path import AMBIGUOUS, distinct

QUOTES_MAX = 1_000_000
VALUES_MAX = 2_000_000
"""What is longer is no prompt, and would take seconds to read."""

_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]", re.IGNORECASE)


class Unreadable(ValueError):
    """The message is a sentence for the caller that says what to send."""


def fields(body: bytes, names: tuple[str, ...]) -> Mapping[str, Any]:
    """The members of a JSON object with these names; those that are missing are None."""
    fast, known = _reader(names)
    _check_bounds(body)
    try:
        if _in_doubt(body, known):
            return _members(json.loads(body.decode("utf-8"), object_pairs_hook=distinct), names)
        said = fast.decode(body)
    except (ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise _unreadable(body) from None
    return {name: getattr(said, name) for name in names}


def whole(body: bytes) -> Mapping[str, Any]:
    """The JSON object as it is, with `AMBIGUOUS` for what stands in it twice."""
    _check_bounds(body)
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=distinct)
    except (ValueError, RecursionError):
        raise _unreadable(body) from None
    if not isinstance(value, dict):
        raise Unreadable("Send one JSON object, and not a list of them.")
    return value


def _check_bounds(body: bytes) -> None:
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if body.count(b'"') > QUOTES_MAX or values > VALUES_MAX:
        raise Unreadable(f"Send at most {QUOTES_MAX // 2:,} texts and {VALUES_MAX:,} values at once.")


def _unreadable(body: bytes) -> Unreadable:
    return Unreadable("Send one JSON object in UTF-8." if body else "Send one JSON object; there is no body.")


def member(value: Mapping[str, Any], name: str) -> Any:
    """The member of that name; Unreadable where readers could disagree on which that is."""
    spelled = [each for each in value if each.lower() == name.lower()]
    found = value.get(name)
    if found is AMBIGUOUS or spelled not in ([], [name]):
        raise Unreadable(f"Write {name} once, and just so.")
    return found


def _members(value: object, names: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable("Send one JSON object in UTF-8.")
    return {name: member(value, name) for name in names}


def _in_doubt(body: bytes, names: Mapping[bytes, bytes]) -> bool:
    """Whether a name may be there twice or in another spelling; never wrong when it says no.

    What stands between two quotes is a name, a text, or what is between those.
    """
    if _ESCAPED_LETTER.search(body):
        return True
    spelled = body.split(b'"')
    found = [(names[small], place) for place, small in enumerate(body.lower().split(b'"')) if small in names]
    return len({name for name, _ in found}) < len(found) or any(spelled[at] != name for name, at in found)


@lru_cache(maxsize=64)
def _reader(names: tuple[str, ...]) -> "tuple[msgspec.json.Decoder[Any], Mapping[bytes, bytes]]":
    """Reads these members and skips the others; and the names as they are written in any case."""
    said = msgspec.defstruct("Said", [(name, Any, None) for name in names])
    return msgspec.json.Decoder(said), {name.lower().encode(): name.encode() for name in names}
