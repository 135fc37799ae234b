"""What Python code gets to see of a payment."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Payment(NamedTuple):
    id: str
    account: str
    state: str
    """pending, succeeded, failed, canceled, refunded or disputed."""
    amount: str
    """As decimal text."""
    currency: str
    url: str = ""
    """Where the payer pays, or goes on."""
    reason: str = ""
    """Why it failed."""
    refunded: str = "0"
    method: Mapping[str, str] | None = None
    """type, brand and last4 of what it was paid with."""
    capturable: bool = False
    details: Mapping[str, Any] = {}


def receipt(shown: Mapping[str, Any]) -> Payment:
    """A payment as the office shows it."""
    return Payment(
        id=shown["id"],
        account=shown["account"],
        state=shown["state"],
        amount=shown["amount"]["amount"],
        currency=shown["amount"]["currency"],
        url=shown["url"] or "",
        reason=shown["reason"] or "",
        refunded=shown["refunded"]["amount"],
        method=shown["method"],
        capturable=shown["capturable"],
        details=shown["details"],
    )
