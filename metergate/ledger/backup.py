"""A backup of the ledger: one SQLite file with everything, whatever database the ledger lives in.

A ledger in SQLite is copied by SQLite itself, one in PostgreSQL row by row from one unchanging view; both
go on serving meanwhile. Where a backup is brought back to, no counter store may go on from what it knew: the
epoch is gone, so a shared store is filled anew, and what its outbox or a journal still holds is posted.
"""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from metergate.errors import ConfigurationError
from metergate.ledger import (
    audit,
    notice_tables,  # noqa: F401 - its tables belong to the same metadata
    payment_tables,  # noqa: F401 - as above
    push_tables,  # noqa: F401 - as above
    watch_tables,  # noqa: F401 - as above
)
from metergate.ledger.columns import metadata
from metergate.ledger.database import Ledger, Tx
from metergate.ledger.tables import accounts, epochs, keys, organisations, peppers

PORTION: Final = 1000
_MADE: Final = "CREATE TABLE backup (made_at_us INTEGER, version TEXT, peppers TEXT)"
TABLES: Final = metadata.sorted_tables
"""All of them, in an order in which each finds what it refers to."""


class Made(NamedTuple):
    """What a backup says of itself."""

    at_us: int
    version: str
    peppers: str
    """Empty where they are kept elsewhere."""


class Ended(NamedTuple):
    """Keys and accounts that a ledger no longer lets in."""

    keys: Mapping[str, int]
    """When each was revoked."""
    accounts: frozenset[str]


def make(source: Ledger, target: Path, made: Made) -> None:
    """Write a backup. It has its name only when it is whole."""
    draft = target.with_name(f".{target.name}.part")
    discard(draft)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        if source.path is not None:
            _copy_file(source.path, draft)
        else:
            draft.unlink()
            _copy_rows_out(source, draft)
        with closing(sqlite3.connect(draft)) as connection, connection:
            connection.execute(_MADE)
            connection.execute("INSERT INTO backup VALUES (?, ?, ?)", made)
        _to_disk(draft)
        target.hardlink_to(draft)
    except FileExistsError:
        raise ConfigurationError(f"There is a file {target} already: choose another name.") from None
    except sqlite3.Error as error:
        raise ConfigurationError(f"The backup {target} cannot be written: {error}.") from error
    finally:
        discard(draft)


def read(path: Path) -> Made:
    """What the file says of itself, or a sentence that it is no backup."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT made_at_us, version, peppers FROM backup").fetchone()
    except sqlite3.Error as error:
        raise ConfigurationError(f"The file {path} is no backup of metergate ({error}).") from error
    return Made(*row)


def discard(draft: Path) -> None:
    """Remove what was not finished, with SQLite's log of it, which would be played over the next one."""
    for path in (draft, *draft.parent.glob(f"{draft.name}-*")):
        path.unlink(missing_ok=True)


def opened(backup: Path, draft: Path) -> Ledger:
    """A copy of the backup as a ledger of the newest revision, which no counter store knows yet."""
    discard(draft)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with draft.open("wb") as copy, backup.open("rb") as file:
        while piece := file.read(1 << 20):
            copy.write(piece)
    with closing(sqlite3.connect(draft)) as connection, connection:
        connection.execute("DROP TABLE backup")
    ledger = Ledger.open(f"sqlite:///{draft}")
    ledger.migrate()
    with ledger.write() as tx:
        tx.execute(epochs.update().values(epoch="", sequence="[]"))
        if tx.execute(sa.select(keys.c.kid).limit(1)).first() is None:
            tx.execute(peppers.delete())  # where there is no key, any pepper will do
    return ledger


def ended(tx: Tx) -> Ended:
    """Who is not let in any more."""
    gone = sa.select(keys.c.kid, keys.c.revoked_at_us).where(keys.c.org == tx.org, keys.c.revoked_at_us > 0)
    stopped = sa.select(accounts.c.id).where(accounts.c.org == tx.org, accounts.c.suspended)
    revoked = {row.kid: int(row.revoked_at_us) for row in tx.execute(gone)}
    return Ended(revoked, frozenset(tx.execute(stopped).scalars()))


def active_keys(tx: Tx) -> list[str]:
    found = sa.select(keys.c.kid).where(keys.c.org == tx.org, keys.c.revoked_at_us == 0)
    return list(tx.execute(found.order_by(keys.c.kid)).scalars())


def end(tx: Tx, known: Ended) -> int:
    """Let nobody in again who was not let in any more; how many keys and accounts that were."""
    changed = 0
    for kid, at_us in known.keys.items():
        here = (keys.c.org == tx.org, keys.c.kid == kid, keys.c.revoked_at_us == 0)
        values = {"revoked_at_us": at_us, "version": keys.c.version + 1}
        changed += tx.execute(keys.update().where(*here).values(**values)).rowcount
    for id in known.accounts:
        there = (accounts.c.org == tx.org, accounts.c.id == id, ~accounts.c.suspended)
        values = {"suspended": True, "version": accounts.c.version + 1}
        changed += tx.execute(accounts.update().where(*there).values(**values)).rowcount
    return changed


def note(tx: Tx, at_us: int, details: Mapping[str, Any]) -> None:
    audit.note(tx, at_us, "cli", "ledger.restore", "ledger", details)


def put_into(source: Ledger, target: Ledger) -> None:
    """Copy everything into an empty database; all of it or nothing."""
    with source.read() as rows, target.write() as tx:
        if tx.execute(sa.select(accounts.c.id).limit(1)).first() is not None:
            raise ConfigurationError(
                f"The ledger {target.name} is not empty: restore into a new database, and name it in "
                "METERGATE_LEDGER."
            )
        tx.execute(epochs.delete())
        tx.execute(organisations.delete())
        _copy_rows(rows, tx)
        for table in TABLES:
            if not tx.sqlite and "seq" in table.c:
                name = f"'{table.name}', 'seq'"
                ask = f"SELECT setval(pg_get_serial_sequence({name}), max(seq)) FROM {table.name}"  # noqa: S608
                tx.sql(ask)


def _copy_file(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))


def _copy_rows_out(source: Ledger, target: Path) -> None:
    source.check()
    with closing(Ledger.open(f"sqlite:///{target}")) as copy:
        copy.migrate()
        with source.read() as rows, copy.write() as tx:
            tx.execute(epochs.delete())
            tx.execute(organisations.delete())
            _copy_rows(rows, tx)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _copy_rows(source: Tx, target: Tx) -> None:
    for tx in (source, target):
        if not tx.sqlite:  # each waits as long as the other takes
            tx.sql("SET LOCAL idle_in_transaction_session_timeout TO 0")
    for table in TABLES:
        own = table.c.id if table is organisations else table.c.org
        query = sa.select(table).where(own == source.org)
        query = query.order_by(*table.primary_key.columns)
        for portion in _portions(source, query):
            target.execute(table.insert(), portion)


def _portions(tx: Tx, query: sa.Select[*tuple[Any, ...]]) -> Iterable[list[dict[str, Any]]]:
    found = tx.execute(query.execution_options(stream_results=True, yield_per=PORTION))
    for portion in found.mappings().partitions():
        yield [dict(row) for row in portion]


def _to_disk(path: Path) -> None:
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
