"""Bytes that are nearly right: what a program reads wrongly looks like something that it reads."""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence

SEED = int(os.environ.get("FUZZ_SEED", "20261121"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "1.5"))
"""For how long each target is tried; `make fuzz` takes a minute, and another seed each time."""
AT_LEAST = 50
"""So many inputs are tried on the slowest machine."""

NUMBERS = (
    b"0",
    b"-0",
    b"-1",
    b"1e999",
    b"1e-999",
    b"NaN",
    b"Infinity",
    b"9007199254740993",
    b"9223372036854775808",
    b"1" * 400,
    b"0x10",
    b"1_000",
    b"00",
    b"\xd9\xa1",
    b"+1",
    b" 1",
    b"1.0",
    b"true",
    b"null",
)
TEXTS = (
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\x7f",
    b"\x80",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\xe2\x80\xae",
    b"%00",
    b"%2e%2e",
    b"%2F",
    b"%252F",
    b"%c0%af",
    b"..",
    b"//",
    b";",
    b"\\",
    b"'",
    b'"',
    b"`",
    b"${X}",
    b"%s%n",
    b"A" * 5000,
    b"[" * 200,
    b'{"a":' * 200,
    b"&a [*a]",
    b"<<: *a",
    b"!!python/object:os.system",
    b"--- \n",
)
LETTERS = bytes(range(256))


def mutated(seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> bytes:
    """One of the seeds, changed in a few places."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        _change(data, seeds, words, chance)
    return bytes(data)


def _change(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> None:
    at, to = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    match chance.randrange(8):
        case 0 if data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        case 1 if data:
            data[at % len(data)] = chance.choice(LETTERS)
        case 2:
            del data[at : min(to, at + 64)]
        case 3:
            del data[at:]
        case 4:
            data[at:at] = data[at : min(to, at + 256)] * chance.choice((1, 2, 16))
        case 5:
            other = chance.choice(seeds)
            begin = chance.randint(0, len(other))
            data[at:to] = other[begin : begin + (to - at)]
        case 6:
            data[at : at + chance.choice((0, 1, 4))] = chance.choice((*words, *NUMBERS, *TEXTS))
        case _:
            data[at:at] = bytes(chance.choices(LETTERS, k=chance.choice((1, 4, 16))))


def tries(name: str) -> Iterator[random.Random]:
    """Chance, again and again until the time is over."""
    chance = random.Random(f"{SEED}:{name}")
    until = time.monotonic() + SECONDS
    count = 0
    while count < AT_LEAST or time.monotonic() < until:
        count += 1
        yield chance


def tried(
    name: str, target: Callable[[bytes], None], seeds: Sequence[bytes], words: Sequence[bytes] = ()
) -> int:
    """How many inputs the target has taken; the first that breaks its promise is told."""
    chance = random.Random(f"{SEED}:{name}")
    until = time.monotonic() + SECONDS
    count = 0
    while count < AT_LEAST or time.monotonic() < until:
        data = seeds[count] if count < len(seeds) else mutated(seeds, words, chance)
        count += 1
        try:
            target(data)
        except Exception as error:
            shown = data if len(data) <= 4000 else data[:4000] + b"..."
            raise AssertionError(
                f"{name} does not keep its promise for {shown!r} (FUZZ_SEED={SEED}, input {count})"
            ) from error
    return count
