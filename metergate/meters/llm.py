"""Tokens of AI APIs: what the answer reports, and an estimate of it where it stops before it has.

No chunk of a stream is parsed as it passes. Those that name usage are kept, the first and the last; of the
others a sample tells how much of a stream is text, which is what an estimate is made of.
"""

import json
import re

from metergate.core.kinds import Counts, counts, output, total, without_output
from metergate.meters import reported
from metergate.meters.counter import Counter, Headers
from metergate.meters.events import carried, data, split
from metergate.meters.usage import counted
from metergate.meters.watched import Watched

TOKENS_MAX = 10_000_000
"""More than any model takes or gives in one call; a count above it is not believed."""
BYTES_PER_TOKEN = 4

EMPTY = b'"usage":null'

_TEXT = re.compile(
    rb'"(?:content|text|delta|arguments|partial_json|thinking|reasoning|reasoning_content|refusal)"\s*:\s*"'
    rb'((?:[^"\\]++|\\.)*+)'
)


class Usages(Watched):
    """The events of a stream that name usage, and how much of the stream is text."""

    def __init__(self) -> None:
        super().__init__(reported.NAME)
        self._sampled = 0
        self._text = 0

    def interesting(self, events: bytes) -> bool:
        """Many servers write `"usage": null` into every event."""
        return events.count(EMPTY) < events.count(reported.NAME) and reported.USAGE.search(events) is not None

    def wanted(self, event: bytes) -> bool:
        return self.interesting(event) and reported.USAGE.search(carried(event)) is not None

    def sample(self, events: bytes) -> None:
        self._sampled += len(events)
        self._text += text_in(events)

    @property
    def text(self) -> int:
        """About how many bytes of text there are."""
        if not self.streams:
            return text_in(self.body())
        return self._text * self.size // self._sampled if self._sampled else 0


def text_in(piece: bytes) -> int:
    return sum(map(len, _TEXT.findall(piece)))


class Llm(Counter):
    measured_when_cut = "measured"

    def __init__(self, most: int = TOKENS_MAX, prompt: int = 0) -> None:
        self._most = most
        self._prompt = prompt
        """What the prompt was taken for before the call."""
        self._status = 0
        self._watched = Usages()

    def start(self, status: int, headers: Headers) -> None:
        self._status = status
        self._watched.start(headers)

    def feed(self, chunk: bytes) -> None:
        self._watched.feed(chunk)

    def finish(self) -> int | None:
        self._watched.finish()
        usage = self._usage()
        if usage is None or not usage.whole:
            return self._without_usage()
        found = self._believed(usage)
        if found is None:
            return None
        self.counts = found
        return total(found)

    def estimate(self) -> int:
        """As much of the prompt as is known, or was thought before; of the output what was seen of it."""
        usage = self._usage()
        seen = (self._believed(usage) if usage is not None else None) or ()
        found = without_output(seen) or {"input": self._prompt}
        found["output"] = max(output(seen), min(self.output, self._most))
        self.counts = counts(found)
        return total(self.counts)

    @property
    def streams(self) -> bool:
        return self._watched.streams

    @property
    def output(self) -> int:
        """About how many tokens of the answer have passed."""
        return -(-self._watched.text // BYTES_PER_TOKEN)

    def _believed(self, usage: reported.Found) -> Counts | None:
        found = counted(usage.usage)
        return found if found is None or total(found) <= self._most else None

    def _without_usage(self) -> int | None:
        """An error that names no usage has used nothing; of everything else that is not known."""
        if self._status >= 400:
            return 0
        self.failed = self.output == 0 and self._told_of_error()
        return None

    def _usage(self) -> reported.Found | None:
        watched = self._watched
        if not watched.streams:
            body = watched.body()
            return reported.found(body) if body else reported.found_in_tail(watched.tail(), *reported.OF_BODY)
        last = _in_event(watched.last)
        first = _in_event(watched.first) if watched.first is not watched.last else None
        if first is None or first.whole or last is None:
            return last
        told = {name: value for name, value in last.usage.items() if value is not None}
        return reported.Found({**first.usage, **told}, last.whole)

    def _told_of_error(self) -> bool:
        """Whether the whole answer is an error, for all that its status is that of a success."""
        watched = self._watched
        texts = [data(event) for event in split(watched.latest)[-2:]] if watched.streams else [watched.body()]
        return any(_is_error(text) for text in texts)


def _in_event(event: bytes) -> reported.Found | None:
    """The usage in an event's data, or in the end of it."""
    if text := data(event):
        return reported.found(text)
    return reported.found_in_tail(carried(event), *reported.OF_EVENT)


def _is_error(text: bytes) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    inner = value.get("response") if isinstance(value, dict) else None
    return any(isinstance(each, dict) and bool(each.get("error")) for each in (value, inner))
