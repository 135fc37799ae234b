"""Where the usage stands in what an AI API answered.

{"usage": …}                  OpenAI, Anthropic; also the last event of their streams
{"response": {"usage": …}}    the events that end OpenAI's responses
{"message": {"usage": …}}     the event that begins Anthropic's messages: not the whole of it yet
{"usageMetadata": …}          Gemini, also a list of such
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from metergate.meters.events import BOM
from metergate.meters.json_path import distinct

NAME = b'"usage'
"""How the name of either begins, in what is not parsed."""
NAMES = ("usage", "usageMetadata")
USAGE = re.compile(rb'"usage(?:Metadata)?"(?:\s|data:)*+:(?:\s|data:)*+\{')
"""Also where it goes on in the next line of an event."""
OF_BODY = (b"{", b"[{")
OF_EVENT = (b"{", b'{"response":{')
TRIES = 8
"""In how many places of a long body's end the usage is looked for."""

_ESCAPED_LETTER = re.compile(rb"\\u00[67]", re.IGNORECASE)


class Found(NamedTuple):
    usage: Mapping[str, Any]
    whole: bool = True
    """Whether it is the usage of the whole answer, and not of its beginning."""


class _Document(msgspec.Struct):
    """The few members that matter; the others are skipped without being read."""

    usage: msgspec.Raw = msgspec.Raw()
    usageMetadata: msgspec.Raw = msgspec.Raw()  # noqa: N815  # as Gemini writes it
    response: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()


_read = msgspec.json.Decoder(_Document).decode
_read_list = msgspec.json.Decoder(list[_Document]).decode


def found(text: bytes) -> Found | None:
    """The usage in a JSON text; None when there is none, or when it stands there twice."""
    text = text.removeprefix(BOM)
    try:
        if _may_repeat(text):
            return _of_value(json.loads(text.decode(), object_pairs_hook=distinct))
        if text.lstrip()[:1] == b"[":
            usages = (_of_document(each) for each in reversed(_read_list(text)))
            return next((each for each in usages if each), None)
        return _of_document(_read(text))
    except (ValueError, RecursionError):
        return None


def found_in_tail(tail: bytes, *openings: bytes) -> Found | None:
    """The usage in the end of a JSON text that was too long to keep; `openings` is how deep it may stand.

    What begins at its name must be the rest of an object, closed as often as it is deep; so no look-alike
    inside of what a client or a model has written is taken for it.
    """
    places = [match.start() for match in USAGE.finditer(tail)][-TRIES:]
    for place in reversed(places):
        if tail[:place].rstrip()[-1:] not in (b",", b"{"):
            continue
        rest = tail[place:].strip()
        for opened in openings:
            usage = found(opened + rest)
            if usage is not None:
                return usage
    return None


def _may_repeat(text: bytes) -> bool:
    if _ESCAPED_LETTER.search(text):
        return True
    return any(text.count(b'"%s"' % name.encode()) > 1 for name in NAMES)


def _of_document(document: _Document) -> Found | None:
    for raw in (document.usage, document.usageMetadata):
        if usage := _object(raw):
            return Found(usage)
    for raw, whole in ((document.response, True), (document.message, False)):
        if bytes(raw).startswith(b"{") and (inner := _of_document(_read(raw))):
            return Found(inner.usage, whole)
    return None


def _object(raw: msgspec.Raw) -> Mapping[str, Any] | None:
    if not bytes(raw).startswith(b"{"):
        return None
    value = json.loads(bytes(raw), object_pairs_hook=distinct)
    return value if isinstance(value, dict) else None


def _of_value(value: object) -> Found | None:
    for each in _documents(value):
        for name in NAMES:
            if isinstance(usage := each.get(name), dict):
                return Found(usage)
        for name, whole in (("response", True), ("message", False)):
            if isinstance(inner := each.get(name), dict) and (seen := _of_value(inner)):
                return Found(seen.usage, whole)
    return None


def _documents(value: object) -> Iterator[Mapping[str, Any]]:
    for each in reversed(value) if isinstance(value, list) else (value,):
        if isinstance(each, dict):
            yield each
