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

_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]", re.IGNORECASE)


class Unreadable(ValueError):
    """The message is a sentence for the caller that says what to send."""


def fields(body: bytes, names: tuple[str, ...]) -> Mapping[str, Any]:
    """The members of a JSON object with these names; those that are missing are None."""
    try:
        if _in_doubt(body, names):
            return _members(json.loads(body, object_pairs_hook=distinct), names)
        said = _decoder(names).decode(body)
    except (ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("Send one JSON object in UTF-8.") from None
    return {name: getattr(said, name) for name in names}


def whole(body: bytes) -> Mapping[str, Any]:
    """The JSON object as it is, with `AMBIGUOUS` for what stands in it twice."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=distinct)
    except (ValueError, RecursionError):
        raise Unreadable("Send one JSON object in UTF-8.") from None
    if not isinstance(value, dict):
        raise Unreadable("Send one JSON object, and not a list of them.")
    return value


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


def _in_doubt(body: bytes, names: Sequence[str]) -> bool:
    """Whether a name may be there twice or in another spelling; never wrong when it says no."""
    if _ESCAPED_LETTER.search(body):
        return True
    small = body.lower()
    for name in names:
        found = body.count(b'"%s"' % name.encode())
        if found > 1 or found != small.count(b'"%s"' % name.lower().encode()):
            return True
    return False


@lru_cache(maxsize=64)
def _decoder(names: tuple[str, ...]) -> "msgspec.json.Decoder[Any]":
    """Reads these members and skips the others."""
    return msgspec.json.Decoder(msgspec.defstruct("Said", [(name, Any, None) for name in names]))
