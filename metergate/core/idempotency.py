"""Idempotency-Key: which calls are twins, and which keys are accepted.

One charge per (account, route, key) for `KEEP_US`: a twin with the same fingerprint gets the same answer, one
with another fingerprint is a mistake of the client.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

KEEP_US: Final = 24 * 3600 * 10**6
ANSWER_MAX: Final = 64 * 1024
BODY_MAX: Final = 1024 * 1024
KEY_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Twin:
    """The first call under a key: what it was (fingerprint) and until when it is remembered."""

    id: str
    fingerprint: str
    until_us: int

    @property
    def fields(self) -> tuple[str, str, int]:
        """As events carry it."""
        return self.id, self.fingerprint, self.until_us


def twin_id(account: str, route: str, key: str) -> str:
    """The identity that twins share; no other (account, route, key) has it."""
    return _digest(account.encode(), route.encode(), key.encode())


def fingerprint(method: str, path: str, body: bytes) -> str:
    """What a repeated call must have in common with the first."""
    return _digest(method.encode(), path.encode(), body)


def check_key(value: str) -> str | None:
    """Why the client's Idempotency-Key cannot be taken, or None when it can."""
    if not value.strip():
        return "Send an Idempotency-Key that is not empty, or leave the header out."
    if len(value) > KEY_MAX:
        return f"Send an Idempotency-Key of at most {KEY_MAX} characters."
    if not (value.isascii() and value.isprintable()):
        return "Send an Idempotency-Key of printable ASCII characters."
    return None


def _digest(*parts: bytes) -> str:
    # The length before each part keeps ("ab", "c") and ("a", "bc") apart.
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.hexdigest()
