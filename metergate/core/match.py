"""Which rule of a policy a request meets.

The path is checked once, from its raw bytes. What two readers could understand differently (encoded
separators, dot segments, double encoding) is refused, so that policy and the app behind it always decide
about the same thing.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from metergate.core.policy import Route

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"})
PATH_MAX = 8192

_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~$&'()*+,=:@!.-]*)+\Z")
_ESCAPED = re.compile(rb"(?:/(?:[A-Za-z0-9_~$&'()*+,=:@!.-]|%[0-9A-Fa-f]{2})*)+\Z")
_HIDDEN = re.compile(rb"%(?:2[fF]|5[cC]|0|1|7[fF]|3[bB]|23|3[fF])")
_TWICE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNSEEN = re.compile("[\x80-\x9f\u2028\u2029]")
"""Controls beyond ASCII: some terminals obey them, and some readers of logs take them for line ends."""
_DOTS = re.compile(r"/\.{1,2}(?:/|\Z)")
_MATCH = re.compile(r"(\*|[A-Z]+) (/\S*)\Z")
_SEGMENT = re.compile(r"(?:\{[A-Za-z_][A-Za-z0-9_]*\}|\*)(:[A-Za-z0-9_.-]+)?\Z")
"""A placeholder, and the verb that some APIs put behind it: `{model}:generateContent`."""


class Canonical(NamedTuple):
    """A path that can be read in one way only, or the sentence that says why not."""

    path: str
    problem: str = ""


def canonical(raw: bytes) -> Canonical:
    if len(raw) > PATH_MAX:
        return Canonical("", f"The path is longer than {PATH_MAX} bytes; shorten it.")
    if not raw.startswith(b"/") or b"//" in raw:
        return Canonical("", "The path must begin with one slash and hold no empty segment.")
    if _PLAIN.match(raw):
        text = raw.decode("ascii")
    elif not _ESCAPED.match(raw) or _HIDDEN.search(raw):
        return Canonical("", "The path holds characters or escapes that could be read in two ways.")
    else:
        try:
            text = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            return Canonical("", "The path is not UTF-8 once its escapes are decoded.")
        if _UNSEEN.search(text):
            return Canonical("", "The path holds control characters.")
    if _TWICE.search(text):
        return Canonical("", "The path is escaped twice; escape it once.")
    if _DOTS.search(text):
        return Canonical("", "The path holds a dot segment; send the path it stands for.")
    return Canonical(text)


def problem(match: str) -> str | None:
    """Why a `match:` text cannot be understood, as one sentence."""
    found = _MATCH.match(match)
    if not found:
        return "write the match as METHOD /path, for example 'POST /v1/chat' or '* /**'"
    method, pattern = found.groups()
    if method != "*" and method not in METHODS:
        return f"{method} is not a method a route can name; use one of {', '.join(sorted(METHODS))} or *"
    segments = pattern.split("/")[1:]
    if "**" in segments[:-1]:
        return "** stands for the rest of the path and must come last"
    if "" in segments[:-1] or "." in segments or ".." in segments:
        return "the path of a match must have no empty or dot segments"
    for segment in segments:
        if ("{" in segment or "}" in segment) and not _SEGMENT.match(segment):
            return f"a placeholder is a whole segment such as {{id}}, not {segment!r}"
        if "*" in segment and segment != "**" and not _SEGMENT.match(segment):
            return f"* stands for a whole segment, so {segment!r} cannot be matched"
    return None


def split(match: str) -> tuple[str, str]:
    method, _, pattern = match.partition(" ")
    return method, pattern


def _segment(segment: str) -> str:
    placeholder = _SEGMENT.match(segment)
    if placeholder is None:
        return re.escape(segment)
    return "[^/:]+" + re.escape(placeholder[1]) if placeholder[1] else "[^/]+"


def _regex(pattern: str) -> re.Pattern[str]:
    segments = pattern.split("/")[1:]
    if segments[-1] == "**":
        head = "".join("/" + _segment(s) for s in segments[:-1])
        return re.compile(head + r"(?:/.*)?\Z", re.DOTALL)
    return re.compile("".join("/" + _segment(s) for s in segments) + r"\Z", re.DOTALL)


def compile(routes: Sequence[Route]) -> Callable[[str, str], Route | None]:
    """A function from method and canonical path to the first route that matches. HEAD counts as GET."""
    rules = [(route.method, _regex(route.pattern), route) for route in routes]

    def find(method: str, path: str) -> Route | None:
        if method == "HEAD":
            method = "GET"
        for wanted, regex, route in rules:
            if wanted in ("*", method) and regex.match(path):
                return route
        return None

    return find
