"""The usage of OpenAI's streams, which comes only to those who ask for it.

Where a client did not ask, its request is made to: `stream_options.include_usage` is written into it. What
the client then gets beyond what it expects is taken out of its stream: the event with the usage, and the
empty usage of all others. Everything else in both directions stays as it is, byte for byte.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from metergate.meters.body import Unreadable, whole
from metergate.meters.events import Events, data, is_one, split
from metergate.meters.reported import NAME, USAGE

PATHS = ("/completions",)
"""Chat completions and completions; the other streams tell their usage by themselves."""
OPTIONS = "stream_options"
FLAG = "include_usage"
NEVER = 2**62
EVENT_MAX = 32 * 1024
"""The event that is looked for is far shorter; what is longer passes before it is whole."""

_ASKED = b'"stream_options":{"include_usage":true}'
_COMPACT = b',"usage":null'
"""The empty usage as OpenAI writes it."""
_EMPTY = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])')
_OPTIONS = re.compile(rb'"stream_options"\s*:\s*')


def asking(path: str, said: Mapping[str, Any], body: bytes) -> bytes | None:
    """The body of a stream's request with the question for usage in it; None where nothing is to be asked."""
    options = said.get(OPTIONS)
    if not path.endswith(PATHS) or said.get("stream") is not True:
        return None
    if options is None and not (OPTIONS.encode() in body and OPTIONS in whole(body)):
        begin = body.index(b"{") + 1
        return body[:begin] + _ASKED + b"," + body[begin:]
    if not isinstance(options, dict | None) or (options and options.get(FLAG) is True):
        return None
    return _replaced(body, options or {})


def _replaced(body: bytes, options: Mapping[str, Any]) -> bytes | None:
    """The body with other options; None where the place of the old ones is not beyond doubt."""
    places = [found.end() for found in _OPTIONS.finditer(body)]
    if len(places) != 1:
        return None
    try:
        head, rest = body[: places[0]], body[places[0] :].decode()
    except UnicodeDecodeError:
        raise Unreadable("Send one JSON object in UTF-8.") from None
    _, length = json.JSONDecoder().raw_decode(rest)
    return head + json.dumps({**options, FLAG: True}).encode() + rest[length:].encode()


class Hiding:
    """Takes the usage, and nothing else, out of a stream."""

    def __init__(self) -> None:
        self._events = Events(NEVER, NEVER)

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets of a chunk, and of what waited before it: an event that is not whole waits."""
        events = self._events.feed(chunk)
        if NAME in events:
            whole = (events,) if is_one(events) else split(events)
            events = b"".join([_without_usage(event) for event in whole])
        return events + self._events.take() if self._events.size > EVENT_MAX else events

    def end(self) -> bytes:
        """What is left when the stream is over."""
        return _without_usage(self._events.take())


def _without_usage(event: bytes) -> bytes:
    if event.count(NAME) == 1:
        place = event.find(_COMPACT)
        if place >= 0 and event[place + len(_COMPACT) : place + len(_COMPACT) + 1] in (b",", b"}"):
            return event[:place] + event[place + len(_COMPACT) :]
    if _is_usage(event):
        return b""
    parts = _EMPTY.split(event)
    return b"".join(parts) if len(parts) == 2 else event


def _is_usage(event: bytes) -> bool:
    if USAGE.search(event) is None:
        return False
    try:
        value = json.loads(data(event))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("usage"), dict) and value.get("choices") == []
