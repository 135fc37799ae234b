"""What owner and client say to each other over the socket: one JSON object a line.

asked     {"verb": …, "params": {…}}
answered  {"answer": {…}}  or  {"error": {…}}; a tail answers {"event": {…}} until the client leaves
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from metergate import errors
from metergate.admin.errors import NotFound, OwnerUnavailable
from metergate.core.refusal import Refusal
from metergate.errors import ConfigurationError, MetergateError
from metergate.ledger import Conflict, LedgerUnavailable

NAME: Final = "owner.sock"
"""Of the process that owns the folder."""
MEMBERS: Final = "gate-*.sock"
"""Of processes that share a store, and own nothing."""
ASKED_MAX: Final = 2 * 1024 * 1024
ANSWER_MAX: Final = 64 * 1024 * 1024
ADDRESS_MAX: Final = 100
"""What fits into a Unix socket's address, with room for the name of a draft."""

CLASSES: Final[Mapping[str, type[MetergateError]]] = {
    each.__name__: each
    for each in (
        errors.MetergateError,
        errors.PaymentRequired,
        errors.PaymentFailed,
        errors.FeatureNotAvailable,
        errors.UsageLimitExceeded,
        errors.InvalidInput,
        errors.ProviderError,
        errors.StoreUnavailable,
        errors.ConfigurationError,
        Conflict,
        LedgerUnavailable,
        NotFound,
        OwnerUnavailable,
    )
}


def line(**members: object) -> bytes:
    return json.dumps(members).encode() + b"\n"


def problem(error: MetergateError) -> bytes:
    """An error as a line. Of a class that the client does not know it names the nearest that it does."""
    known = next(each.__name__ for each in type(error).__mro__ if each.__name__ in CLASSES)
    refusal = error.refusal._asdict() if error.refusal else None
    told = {"class": known, "reason": error.reason, "detail": str(error), "refusal": refusal}
    return line(error={**told, "after_s": error.after_s})


def raised(told: Mapping[str, Any]) -> MetergateError:
    """The error that the owner met, to be raised here."""
    refusal = Refusal(**told["refusal"]) if told.get("refusal") else None
    kind = CLASSES.get(told.get("class", ""), MetergateError)
    error = kind(str(told.get("detail", "")), reason=str(told.get("reason", "")), refusal=refusal)
    error.after_s = float(told.get("after_s", 0))
    return error


@contextmanager
def address(folder: Path, name: str = NAME) -> Iterator[str]:
    """The address of a socket in the folder; one that is too long for the kernel goes by way of /proc."""
    plain = str(folder / name)
    if len(os.fsencode(plain)) <= ADDRESS_MAX:
        yield plain
        return
    if not Path("/proc/self/fd").exists():
        raise ConfigurationError(f"Use a data folder with a shorter path than {folder} (METERGATE_DATA).")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
