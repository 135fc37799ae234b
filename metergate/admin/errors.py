"""What can go wrong at the operator's desk beside a value that cannot be accepted."""

from metergate.errors import InvalidInput, MetergateError


class NotFound(InvalidInput):
    """Nothing has that id; nothing was changed."""

    reason = "not_found"


class OwnerUnavailable(MetergateError):
    """The process that owns the data folder does not answer; it may have ended."""

    reason = "owner_unavailable"
