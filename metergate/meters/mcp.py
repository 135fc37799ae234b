"""Calls of MCP servers over streamable HTTP: one message a request, priced by its method and its tool."""

import json

from metergate.core.asked import Asked, Dimensions
from metergate.meters.body import Unreadable, member, whole
from metergate.meters.counter import Counter, Headers
from metergate.meters.events import data, split
from metergate.meters.watched import Watched

NAME_MAX = 200
ANSWER = "response"
"""The method of what answers a question of the server, and so has none."""


def asked(body: bytes) -> Asked:
    """What a message asks for; Unreadable when it can be understood in two ways, or is several."""
    message = whole(body)
    method = member(message, "method")
    found: Dimensions = (("method", ANSWER if method is None else _text(method, "method")),)
    if method in ("tools/call", "prompts/get"):
        params = member(message, "params")
        if not isinstance(params, dict):
            raise Unreadable(f"Send {method} with its params.")
        found += (("tool" if method == "tools/call" else "prompt", _text(member(params, "name"), "name")),)
    return Asked(found, 1)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_MAX or not value.isprintable():
        raise Unreadable(f"Write {name} as a text of at most {NAME_MAX} characters.")
    return value


class Mcp(Counter):
    """Sees whether the server could not do what was asked: an error of the protocol, and not of the tool."""

    def __init__(self) -> None:
        self._status = 0
        self._watched = Watched(b'"error"')

    def start(self, status: int, headers: Headers) -> None:
        self._status = status
        self._watched.start(headers)

    def feed(self, chunk: bytes) -> None:
        self._watched.feed(chunk)

    def finish(self) -> int:
        watched = self._watched
        watched.finish()
        texts = [data(event) for event in split(watched.last)] if watched.streams else [watched.body()]
        self.failed = self._status < 400 and any(_is_error(text) for text in texts)
        return 1


def _is_error(text: bytes) -> bool:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and isinstance(message.get("error"), dict) and "result" not in message
