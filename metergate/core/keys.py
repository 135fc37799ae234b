"""API keys: how one is made, recognised without any look-up, kept and compared.

A key reads `mg_live_<kid>_<secret><crc>`. The checksum is help against typing errors, scanners and floods of
random keys; what makes a key safe are the 190 random bits of the secret.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, cast

Environment = Literal["live", "test"]

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KID_LENGTH: Final = 10
SECRET_LENGTH: Final = 32
CRC_LENGTH: Final = 6
LENGTH_MAX: Final = 128

PATTERN: Final = r"\bmg_(live|test)_([0-9A-Za-z]{10})_[0-9A-Za-z]{38}\b"
"""What secret scanners look for; a hit is a key when its last 6 characters are the CRC32 of the rest."""

_SHAPE = re.compile(PATTERN)
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_PAIR = len(_PAIRS)
_UNBIASED = 256 - 256 % len(ALPHABET)


@dataclass(frozen=True, slots=True)
class Key:
    """A key whose form and checksum are right; whether it exists is for the look-up of its kid."""

    environment: Environment
    kid: str
    text: str = field(repr=False)


def mint(environment: Environment, randomness: Callable[[int], bytes]) -> str:
    """A new key; `randomness` is `secrets.token_bytes` outside of tests."""
    if environment not in ("live", "test"):
        raise ValueError(f"Make a key for the environment live or test, not {environment!r}.")
    letters = _letters(KID_LENGTH + SECRET_LENGTH, randomness)
    body = f"mg_{environment}_{letters[:KID_LENGTH]}_{letters[KID_LENGTH:]}"
    return body + _checksum(body)


def parse(text: str) -> Key | None:
    """The key that the text is, or None; costs no I/O whatever is sent."""
    if len(text) > LENGTH_MAX:
        return None
    shape = _SHAPE.fullmatch(text)
    if shape is None or _checksum(text[:-CRC_LENGTH]) != text[-CRC_LENGTH:]:
        return None
    return Key(cast(Environment, shape[1]), shape[2], text)


def digest(key_text: str, pepper: bytes) -> str:
    """What is stored of a key: without the pepper nobody can make a row that a key would match."""
    if not pepper:
        raise ValueError("Set a pepper that is not empty before storing or checking keys.")
    return hmac.digest(pepper, key_text.encode(), hashlib.sha256).hex()


def same(a: str, b: str) -> bool:
    """Whether two digests are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(a.encode(), b.encode())


def _checksum(body: str) -> str:
    high, rest = divmod(zlib.crc32(body.encode()), _PAIR * _PAIR)
    middle, low = divmod(rest, _PAIR)
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def _letters(count: int, randomness: Callable[[int], bytes]) -> str:
    # Bytes from 248 up are thrown away: taking them modulo 62 would make the first letters likelier.
    letters: list[str] = []
    for _ in range(16):
        letters += [ALPHABET[byte % len(ALPHABET)] for byte in randomness(2 * count) if byte < _UNBIASED]
        if len(letters) >= count:
            return "".join(letters[:count])
    raise ValueError("Use a source of randomness that returns all bytes with equal chance.")
