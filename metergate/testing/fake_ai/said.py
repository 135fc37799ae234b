"""What a request says, and what is said to it: words, each of them a token."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

VOCABULARY = ("every", "call", "is", "paid", "for", "before", "it", "is", "served", "and", "counted", "after")
ORDINARY = 12
"""How many words are said to those who do not ask for so many."""
LONGEST = 100_000
MAXIMA = ("max_tokens", "max_completion_tokens", "max_output_tokens")

_WANTED = re.compile(r"(\d{1,6}) words")


class Turn(NamedTuple):
    """A question and its answer."""

    model: str
    prompt: int
    words: list[str]
    choices: int
    stream: bool

    @property
    def output(self) -> int:
        return len(self.words) * self.choices

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def parts(self) -> list[str]:
        """The text as it is streamed: word by word."""
        return [word if place == 0 else f" {word}" for place, word in enumerate(self.words)]


def turn(said: Mapping[str, Any], model: str = "", *, stream: bool = False) -> Turn:
    config = said.get("generationConfig") or {}
    texts = list(
        _texts([said.get(name) for name in ("system", "instructions", "messages", "input", "contents")])
    )
    prompt = sum(len(text.split()) for text in texts) + 3
    named = [said.get(name) for name in MAXIMA] + [config.get("maxOutputTokens")]
    most = next((each for each in named if isinstance(each, int)), LONGEST)
    wanted = _WANTED.search(texts[-1]) if texts else None
    words = min(most, int(wanted[1]) if wanted else ORDINARY)
    return Turn(
        model=model or str(said.get("model") or "fake"),
        prompt=prompt,
        words=[VOCABULARY[place % len(VOCABULARY)] for place in range(words)],
        choices=said.get("n") or config.get("candidateCount") or 1,
        stream=stream or said.get("stream") is True,
    )


def _texts(value: object) -> Iterator[str]:
    """Every text of a prompt, whatever its form."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        yield from _texts([value.get(name) for name in ("content", "text", "parts")])
