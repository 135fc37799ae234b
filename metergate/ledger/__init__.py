"""SQL truth: accounts, keys, grants, usage and a double-entry ledger, on SQLite or PostgreSQL.

`Ledger` opens it; every other function takes the `Tx` of `Ledger.write()` or `Ledger.read()` first.
"""

from metergate.ledger.database import Ledger, LedgerHealth, Tx
from metergate.ledger.errors import Conflict, LedgerUnavailable

__all__ = ["Conflict", "Ledger", "LedgerHealth", "LedgerUnavailable", "Tx"]
