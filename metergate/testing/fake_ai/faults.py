"""What can be made to go wrong, by the header `x-fake: slow=0.05, usage=none`.

slow=SECONDS      every piece of the answer comes so much later
size=BYTES        the pieces are of that size, wherever events end
status=503        an error in the form of the API that was asked
error             a stream ends in the middle, with an error of the API
cut               the connection ends in the middle of the answer
garbage           something that is neither JSON nor an event stands in the middle
short, long       the body is ten bytes shorter or longer than was announced
usage=WORD        none, zero, negative, nan, huge, float, text, nested, duplicate or twice
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence

Faults = Mapping[str, str]
GARBAGE = b"\x00\xff <!doctype garbage>\n"

_TOKENS = re.compile(r'("(?:prompt_tokens|input_tokens|promptTokenCount|output_tokens)":)(\d+)')
_NUMBER = re.compile(r'(Tokens?(?:Count)?|_tokens)":\d+')
_REPLACED: Mapping[str, str] = {
    "zero": "0",
    "negative": "-7",
    "nan": "NaN",
    "huge": "9007199254740993",
    "float": "1.5",
    "text": '"many"',
    "nested": '{"usage":{"prompt_tokens":1,"completion_tokens":1}}',
}


class Cut(ConnectionError):
    """The connection ends here."""


def faults(header: str) -> Faults:
    """The faults that a header asks for."""
    asked = (each.strip().partition("=") for each in header.split(",") if each.strip())
    return {name: value or "1" for name, _, value in asked}


def usage(text: str, how: str) -> str:
    """The JSON text of a usage object, as it goes wrong."""
    if how in _REPLACED:
        return _NUMBER.sub(lambda found: found[0].rpartition(":")[0] + ":" + _REPLACED[how], text)
    if how == "duplicate":
        return _TOKENS.sub(r"\g<1>1,\1\2", text, count=1)
    return text


async def pieces(whole: Sequence[bytes], faults: Faults) -> AsyncIterator[bytes]:
    """The pieces of an answer, as they go wrong."""
    if "size" in faults:
        whole = _in_pieces(b"".join(whole), int(faults["size"]))
    middle = len(whole) // 2
    pause = float(faults.get("slow", 0))
    for place, piece in enumerate(whole):
        if pause:
            await asyncio.sleep(pause)
        if place == middle and "garbage" in faults:
            yield GARBAGE
        if place == middle and "cut" in faults:
            yield piece[: len(piece) // 2]
            raise Cut("The answer was cut as it was asked to be.")
        yield piece


def _in_pieces(body: bytes, size: int) -> list[bytes]:
    return [body[begin : begin + size] for begin in range(0, len(body), size)]


def announced(body: bytes, faults: Faults) -> int:
    """The length that is announced of a body."""
    length = len(body) + (len(GARBAGE) if "garbage" in faults else 0)
    if "long" in faults:
        return length - 10
    return length + 10 if "short" in faults else length
