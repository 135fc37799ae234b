"""What `verify` says of a figure that is not what it should be."""

from typing import Final, NamedTuple

ROWS: Final = (
    "Rows were changed outside of metergate: find out by whom, then restore a backup, or correct the account "
    "with metergate credits adjust."
)
SNAPSHOT: Final = "The entries are the truth: run metergate ledger derive, which makes what is kept anew."
STORE: Final = (
    "The ledger is the truth: run metergate recover --rebuild, which fills a shared store from it; an "
    "embedded one is filled when its service is restarted."
)
CHAIN: Final = "Compare with a backup: what the chain covers was changed after it was written."


class Difference(NamedTuple):
    """One sentence, and the same in pieces."""

    sentence: str
    subject: str
    """Which account, grant, transaction, window or link."""
    figure: str
    """Which of its figures."""
    expected: str = ""
    found: str = ""
    advice: str = ROWS

    def __str__(self) -> str:
        return self.sentence
