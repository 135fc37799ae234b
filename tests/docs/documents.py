"""The documents as data: every fenced block with its language and its place."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.house.rules import ROOT

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOLDERS = ("README.md", "ARCHITECTURE.md", "docs/*.md")


class Block(NamedTuple):
    file: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(*patterns: str) -> Iterator[Block]:
    for pattern in patterns or FOLDERS:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            for found in FENCE.finditer(text):
                line = text.count("\n", 0, found.start()) + 1
                yield Block(path.relative_to(ROOT).as_posix(), line, found[1], found[2])


def of(language: str, *patterns: str) -> list[Block]:
    return [block for block in blocks(*patterns) if block.language == language]
