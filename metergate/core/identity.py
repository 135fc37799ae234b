"""Who is one person, as far as that can be told: of an address what matters, and of all a digest."""

import hashlib
from typing import Final

_DOTLESS: Final = {"gmail.com": "gmail.com", "googlemail.com": "gmail.com"}
"""Where dots in front of the @ mean nothing, and what the domain is really called."""


def email(address: str) -> str:
    """The address as the post office reads it: without case, without what stands behind a plus."""
    local, at, domain = address.strip().casefold().rpartition("@")
    if not at or not local:
        return ""
    local = local.partition("+")[0] or local
    domain = domain.rstrip(".")
    if domain in _DOTLESS:
        local, domain = local.replace(".", ""), _DOTLESS[domain]
    return f"{local}@{domain}"


def digest(kind: str, value: str) -> str:
    """What is kept of an identity: it can be recognised, and not read."""
    return f"{kind}:{hashlib.sha256(f'{kind} {value}'.encode()).hexdigest()[:32]}"
