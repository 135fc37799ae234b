"""What the database under a ledger says of itself that endangers money."""

import sqlite3
from typing import Final

from metergate.ledger.database import Ledger
from metergate.ports import Danger

STRICT_TABLES: Final = (3, 37)
SAFE_LOG: Final = (3, 51, 3)
"""From which version on two connections may commit and checkpoint at the same moment."""
_ASKED: Final = ("fsync", "full_page_writes", "synchronous_commit", "default_transaction_read_only")


def dangers(ledger: Ledger) -> list[Danger]:
    return _sqlite() if ledger.sqlite else _postgres(ledger)


def _sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> list[Danger]:
    told = ".".join(map(str, version))
    if version < STRICT_TABLES:
        return [Danger(f"SQLite is {told}; use a Python with SQLite 3.37 or newer", always=True)]
    if version < SAFE_LOG:
        sentence = (
            f"SQLite is {told}, in which connections that commit and checkpoint at the same moment can "
            "damage the file; metergate has one that does, so let no other program write to the ledger"
        )
        return [Danger(sentence, told_by_doctor=True)]
    return []


def _postgres(ledger: Ledger) -> list[Danger]:
    # What sessions begin with: our own may set it lower on purpose (fsync: no).
    ask = "SELECT name, reset_val AS setting FROM pg_settings WHERE name = ANY(%s)"
    with ledger.read() as tx:
        settings = {row.name: row.setting for row in tx.sql(ask, (list(_ASKED),))}
        replica = bool(tx.sql("SELECT pg_is_in_recovery()").scalar_one())
    found = []
    if replica or settings.get("default_transaction_read_only") == "on":
        why = "is a replica" if replica else "only lets itself be read (default_transaction_read_only)"
        found.append(
            Danger(f"the ledger {ledger.name} {why}; name the database that takes writes", always=True)
        )
    if settings.get("fsync") == "off":
        found.append(
            Danger(
                f"PostgreSQL runs with fsync off: a power failure may destroy the ledger {ledger.name}; set "
                "fsync on",
                strict=True,
            )
        )
    if settings.get("full_page_writes") == "off":
        found.append(
            Danger(
                "PostgreSQL runs with full_page_writes off: a power failure may damage pages; set it on",
                strict=True,
            )
        )
    if settings.get("synchronous_commit") == "off":
        found.append(
            Danger(
                "PostgreSQL runs with synchronous_commit off: a power failure may cost the last moments of "
                "the ledger; set it on",
                strict=True,
            )
        )
    return found
