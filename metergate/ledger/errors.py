"""What can go wrong with the ledger, beside a value that cannot be accepted."""

from metergate.errors import InvalidInput, StoreUnavailable


class LedgerUnavailable(StoreUnavailable):
    """The database does not answer; whether the last transaction was committed may be unknown, repeat it."""


class LedgerBusy(LedgerUnavailable):
    """Another writer was in the way, and nothing was changed; repeat it."""


class Conflict(InvalidInput):
    """The id is taken by something else; nothing was changed."""

    reason = "conflict"
