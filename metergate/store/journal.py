"""The journal: an append-only, memory-mapped file in segments.

A record is a header and a payload. A process that is killed while it writes leaves a record whose checksum
does not fit, and nothing behind it: what has a header with the right checksum was written whole. The pages
belong to the kernel, which keeps them when the process dies; `sync` is for power loss.

    segment  = magic, then records, then zeros
    record   = length u32, crc32 of payload and kind u32, kind u8, three zero bytes, payload

Segments are preallocated, so that a full disk is an error at a known place and never a signal in the middle
of a write.
"""

import errno
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple
from zlib import crc32

MAGIC = b"MGJ1\n\0\0\0"
HEADER = struct.Struct("<IIBxxx")
SEGMENT_BYTES = 16 * 1024 * 1024

Fsync = Literal["always", "everysec", "no"]
"""When records are brought to the disk: before the call goes on, by `sync`, or when the kernel likes."""

DISPATCHED, SETTLED, RELEASED = 1, 2, 3
"""Calls are about to reach the app, with their terms; usage events; calls that ended without any."""
INTENDED, GRANTED, SENT, POSTED = 4, 5, 6, 7
"""Where the store is behind a network: holds are about to leave; which of them were granted; one call is
about to reach the app; up to where the ledger has the events."""

_SHIFT = 32
_WITHIN = (1 << _SHIFT) - 1
_head = HEADER.pack
_START = len(MAGIC)
_HEAD = HEADER.size


class Record(NamedTuple):
    kind: int
    payload: bytes


class _Segment:
    """One preallocated file, mapped."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        try:
            os.posix_fallocate(self.descriptor, 0, size)
            self.map = mmap.mmap(self.descriptor, size)
        except OSError:
            os.close(self.descriptor)
            path.unlink(missing_ok=True)
            raise
        self.map[:_START] = MAGIC

    def close(self) -> None:
        self.map.close()
        os.close(self.descriptor)


class Journal:
    """Appends records; positions grow, and say in their upper half in which segment a record lies."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        fsync: Fsync = "everysec",
        segments_max: int = 0,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._size = segment_bytes
        self._most = segments_max
        self._always = fsync == "always"
        self._never = fsync == "no"
        self._segments: dict[int, _Segment] = {}
        numbers = segment_numbers(folder)
        self._old = numbers
        self._number = (numbers[-1] if numbers else 0) + 1
        self._spare: _Segment | None = None
        self._base = 0
        self._at = 0
        self._open(_Segment(self._path(self._number), segment_bytes))

    def append(self, kind: int, payload: bytes) -> int:
        """Write a record and say where it lies. OSError when the disk is full: then nothing was written."""
        record = _head(len(payload), crc32(payload, kind), kind) + payload
        if self._at + len(record) > self._size:
            self._roll(_START + len(record))
        at = self._at
        self._write(record)
        self._at = at + len(record)
        if self._always:
            os.fdatasync(self._current.descriptor)
        return self._base | at

    def prepare(self) -> None:
        """Have the next segment ready, so that a call never waits for the disk to find room."""
        if self._spare is None:
            if len(self._segments) == self._most:
                raise OSError(errno.EDQUOT, "it holds as much as it may until the ledger has it")
            path = self._path(self._number + 1)
            self._spare = _Segment(path, self._size)

    def at(self, position: int) -> Record:
        """A record that was appended and is kept."""
        data = self._segments[position >> _SHIFT].map
        at = position & _WITHIN
        length, _, kind = HEADER.unpack_from(data, at)
        return Record(kind, data[at + _HEAD : at + _HEAD + length])

    def keep_from(self, position: int) -> None:
        """Delete the segments before the one in which `position` lies."""
        number = position >> _SHIFT
        for old in [each for each in self._segments if each < min(number, self._number)]:
            segment = self._segments.pop(old)
            segment.close()
            segment.path.unlink(missing_ok=True)

    def forget_old(self) -> None:
        """Delete what a process before this one wrote; everything in it has been taken over."""
        for number in self._old:
            self._path(number).unlink(missing_ok=True)
        self._old = []

    @property
    def position(self) -> int:
        """Where the next record will lie, unless it needs a new segment."""
        return self._base | self._at

    @property
    def segment(self) -> int:
        return self._number

    def sync(self) -> None:
        """Bring to the disk what the kernel still holds; may run beside appends, in a thread."""
        if self._never:
            return
        for segment in list(self._segments.values())[-2:]:
            try:
                os.fdatasync(segment.descriptor)
            except OSError as error:
                if error.errno != errno.EBADF:  # a segment that nobody needed any more was closed meanwhile
                    raise

    def close(self) -> None:
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()
        if self._spare is not None:
            self._spare.close()
            self._spare.path.unlink(missing_ok=True)
            self._spare = None

    def _roll(self, needed: int) -> None:
        if needed > self._size:
            raise ValueError(f"A journal record of {needed} bytes does not fit a segment of {self._size}.")
        self.prepare()
        segment, self._spare = self._spare, None
        assert segment is not None
        self._number += 1
        self._open(segment)

    def _open(self, segment: _Segment) -> None:
        self._current = segment
        self._segments[self._number] = segment
        segment.map.seek(_START)
        self._write = segment.map.write
        self._base = self._number << _SHIFT
        self._at = _START

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010d}.journal"


def segment_of(position: int) -> int:
    return position >> _SHIFT


def segment_numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.journal") if path.stem.isdigit())


def read(folder: Path) -> Iterator[Record]:
    """Every whole record of a folder, oldest first. One that a disk has damaged costs no other."""
    return (record for _, record in read_placed(folder))


def read_placed(folder: Path) -> Iterator[tuple[int, Record]]:
    """The same, each with its position."""
    for number in segment_numbers(folder):
        try:
            data = (folder / f"{number:010d}.journal").read_bytes()
        except FileNotFoundError:  # its owner lives, and needs it no more
            continue
        for at, record in _read_segment(data):
            yield number << _SHIFT | at, record


def read_segment(data: bytes) -> Iterator[Record]:
    return (record for _, record in _read_segment(data))


def _read_segment(data: bytes) -> Iterator[tuple[int, Record]]:
    if not data.startswith(MAGIC):
        return
    at = _START
    while at + _HEAD <= len(data):
        length, checksum, kind = HEADER.unpack_from(data, at)
        body = at + _HEAD
        payload = data[body : body + length]
        if kind == 0 or len(payload) < length:
            return
        if crc32(payload, kind) == checksum:
            yield at, Record(kind, payload)
        at = body + length
