"""The cards of the test books: what they do, and what a merchant is told of them."""

import hashlib
from collections.abc import Mapping
from typing import Final

from metergate.provider_port import Method

PAYS, DECLINED, ASKS = "pays", "declined", "asks"
CARDS: Final[Mapping[str, str]] = {
    "4242424242424242": PAYS,
    "4000000000000002": DECLINED,
    "4000002500003155": ASKS,
    "tok_visa": PAYS,
    "tok_declined": DECLINED,
    "tok_authenticate": ASKS,
}


def card(token: str, id: str = "") -> Method:
    """Never its number, which merchants keep nowhere: they know a card again by a digest of it."""
    number = next(each for each, does in CARDS.items() if does == CARDS[token])
    fingerprint = f"card_{hashlib.sha256(number.encode()).hexdigest()[:16]}"
    return Method(id, "card", "visa", number[-4:], fingerprint)
