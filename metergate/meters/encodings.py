"""Bodies that are packed: which of them can be read, and how."""

import zlib
from collections.abc import Iterator, Mapping

from metergate.meters.counter import Headers

GZIP, ZLIB, RAW_DEFLATE = 31, 15, -15
"""How zlib is told what it reads; what HTTP calls deflate is either of the last two."""
WINDOWS: Mapping[bytes, tuple[int, ...]] = {
    b"gzip": (GZIP,),
    b"x-gzip": (GZIP,),
    b"deflate": (ZLIB, RAW_DEFLATE),
}
PIECE = 64 * 1024
"""The bytes that are unpacked at a time."""
RATIO_MAX = 200
FREE = 4 * 1024 * 1024
"""What may come out of a body that is packed more tightly than any text."""

Windows = tuple[int, ...]


def windows(headers: Headers) -> Windows | None:
    """How the body of an answer is unpacked: in no way, in one of these, or None where nobody can."""
    found = encodings(headers)
    if not found:
        return ()
    return WINDOWS.get(found[0]) if len(found) == 1 else None


def encodings(headers: Headers) -> list[bytes]:
    named = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
    found = [each.strip().lower() for each in named.split(b",")]
    return [each for each in found if each not in (b"", b"identity")]


def unpacked(body: bytes, windows: Windows, most: int) -> bytes:
    """A whole body as it was before it was packed; ValueError when that is too much, or no end is there."""
    if not windows:
        return body
    *others, last = windows
    for window in others:
        try:
            return _inflated(body, window, most)
        except zlib.error:
            continue
    return _inflated(body, last, most)


def _inflated(body: bytes, window: int, most: int) -> bytes:
    unpacker = zlib.decompressobj(window)
    found = unpacker.decompress(body, most + 1)
    if len(found) > most or not unpacker.eof or unpacker.unused_data:
        raise ValueError("The body is too long, or cut off, or followed by something else.")
    return found


class Unpacking:
    """A body that is unpacked as it comes. What cannot be read is left out, and so is all behind it."""

    def __init__(self, windows: Windows) -> None:
        self._windows = list(windows)
        self._unpacker = zlib.decompressobj(self._windows.pop(0))
        self._begun = False
        self._left = FREE
        """How much may still come out; no answer keeps the event loop busy for the sake of its units."""

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What the chunk holds, in pieces of a bounded size."""
        if self._left <= 0:
            return
        self._left += RATIO_MAX * len(chunk)
        while chunk and self._left > 0:
            try:
                piece = self._unpacker.decompress(chunk, PIECE)
            except zlib.error:
                if self._begun or not self._windows:
                    return
                self._unpacker = zlib.decompressobj(self._windows.pop(0))
                continue
            self._begun = True
            self._left -= len(piece)
            chunk = self._unpacker.unconsumed_tail
            if piece:
                yield piece
