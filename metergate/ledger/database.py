"""The one edge to the database: transactions, migrations, the claim and health; `engines` has what is below.

A `Tx` is a connection inside a transaction plus the organisation it works for. Whatever goes wrong between
here and the database leaves this file as `LedgerUnavailable`; nothing above knows the drivers' errors.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from metergate.errors import ConfigurationError
from metergate.ledger import engines, silence
from metergate.ledger.errors import LedgerBusy, LedgerUnavailable
from metergate.ledger.migrations import HEAD, VERSION_TABLE
from metergate.ledger.tables import epochs, organisations

Row = sa.Row[*tuple[Any, ...]]
Rows = sa.CursorResult[*tuple[Any, ...]]
Select = sa.Select[*tuple[Any, ...]]

_CLAIM: Final = 0x6D657467  # "metg": the class of the advisory lock; the object is the organisation
_MIGRATION: Final = 0x6D65746D
_LEADER: Final = 0x6D65746C


@dataclass(frozen=True, slots=True)
class Tx:
    """One transaction, for one organisation."""

    connection: sa.Connection
    org: int
    sqlite: bool

    def execute(self, statement: sa.Executable, parameters: Any = None) -> Rows:
        return self.connection.execute(statement, parameters)

    def sql(self, text: str, parameters: Any = ()) -> Rows:
        """Run the driver's own SQL: a list of tuples runs it once for each."""
        return self.connection.exec_driver_sql(text, parameters)

    @property
    def driver(self) -> Any:
        """The driver's module, for its own exceptions."""
        return engines.driver(self.connection.engine)


@dataclass(frozen=True, slots=True)
class LedgerHealth:
    name: str
    ok: bool
    version: str = ""
    latency_us: int = 0
    detail: str = ""


class Ledger:
    """The ledger of one organisation in a SQLite file or a PostgreSQL database."""

    def __init__(self, url: sa.URL, org: int, durable: bool) -> None:
        self.url = url
        self.org = org
        self.name = engines.shown(url)
        self.sqlite = url.get_backend_name() == "sqlite"
        self.path = Path(url.database or "") if self.sqlite else None
        self._claim: IO[bytes] | sa.Connection | None = None
        if self.sqlite:
            self._writer = engines.sqlite(url, durable, writer=True)
            self._reader = engines.sqlite(url, durable, writer=False)
        else:
            self._writer = engines.postgres(url, durable)
            self._lines = silence.Lines(self._writer)
            self._reader = self._writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @classmethod
    def open(cls, url: str, *, org: int = 1, durable: bool = True) -> Self:
        """Open without connecting; `durable=False` trades the last moments before a power loss for speed."""
        return cls(engines.parsed(url), org, durable)

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction that is committed at the end, or rolled back by an exception."""
        with self._translated(), self._writer.begin() as connection:
            yield Tx(connection, self.org, self.sqlite)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """One unchanging view of everything; it cannot write."""
        with self._translated(), self._reader.begin() as connection:
            yield Tx(connection, self.org, self.sqlite)

    def migrate(self) -> None:
        """Bring the tables to the newest revision, and make the organisation known."""
        if self.path is not None and not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
        with self.write() as tx:
            if not self.sqlite:
                tx.sql("SELECT pg_advisory_xact_lock(%s, 0)", (_MIGRATION,))
            found = _revision(tx)
            if found > HEAD:
                raise self._newer(found)
            if found < HEAD:
                _upgrade(tx)
            known = tx.execute(sa.select(organisations.c.id).where(organisations.c.id == self.org)).first()
            if known is None:
                tx.execute(organisations.insert().values(id=self.org, name="default", snapshots=True))
                space = secrets.token_hex(6)
                tx.execute(epochs.insert().values(org=self.org, space=space, epoch="", sequence="[]"))

    def revision(self) -> str:
        """The revision that the tables are at; empty when there are none."""
        if self.path is not None and not self.path.exists():
            return ""
        with self.read() as tx:
            return _revision(tx)

    def check(self) -> None:
        """Refuse tables of another revision than this program was written for."""
        found = self.revision()
        if found == HEAD:
            return
        if found > HEAD:
            raise self._newer(found)
        at = f"at revision {found}" if found else "empty"
        raise ConfigurationError(
            f"The ledger {self.name} is {at} and this version needs {HEAD}: run `metergate migrate`."
        )

    def claim(self, *, shared: bool = False) -> None:
        """Make sure that one counter store stands on this ledger: one embedded, or a shared one."""
        if self._claim is not None:
            return
        self._claim = self._claim_file(self.path) if self.path else self._claim_database(shared)
        if self._claim is None:
            raise ConfigurationError(
                f"Another process already runs an embedded store on {self.name}: stop it, and run a single"
                " worker, or give all of them one shared store (store: redis://…)."
                if not shared
                else f"A process without a shared store already runs on {self.name}: give it this store too."
            )

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """Whether this process is the one that does, until the end of the block, what only one may do."""
        with self._translated(), self._writer.connect() as connection, connection.begin():
            # The lock of a transaction, which may be idle: poolers in front of a database share sessions.
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout TO 0")
            ask = "SELECT pg_try_advisory_xact_lock(%s, %s)"
            yield bool(connection.exec_driver_sql(ask, (_LEADER, self.org)).scalar_one())

    def release(self) -> None:
        """Give the claim back; the end of the process does it too."""
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def health(self) -> LedgerHealth:
        name = self.url.get_backend_name()
        started = time.perf_counter_ns()
        try:
            with self.read() as tx:
                ask = "SELECT sqlite_version()" if self.sqlite else "SHOW server_version"
                version = str(tx.sql(ask).scalar_one())
        except LedgerUnavailable as error:
            return LedgerHealth(name, ok=False, detail=str(error))
        return LedgerHealth(name, True, version, (time.perf_counter_ns() - started) // 1000)

    def is_silent(self, within_s: float) -> bool:
        """Whether a database that others serve lets nobody in any more. It takes so long to find out."""
        return not self.sqlite and not self._lines.lets_anybody_in(within_s)

    def cut(self) -> None:
        """Have whoever waits for an answer fail, as when the database is away."""
        self._lines.cut()

    def close(self) -> None:
        self.release()
        self._reader.dispose()
        self._writer.dispose()

    def _newer(self, found: str) -> ConfigurationError:
        return ConfigurationError(
            f"The ledger {self.name} was migrated by a newer metergate (revision {found}): upgrade metergate."
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, engines.driver(self._writer).Error) as error:
            if not engines.is_outage(error, self._writer):
                raise
            cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            kind = LedgerBusy if engines.is_collision(error) else LedgerUnavailable
            raise kind(f"The ledger {self.name} cannot be used: {cause}. Try again later.") from error

    def _claim_file(self, path: Path) -> IO[bytes] | None:
        import fcntl  # only Unix has it, and only the embedded store needs it

        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(f"{path}.lock", "ab", opener=_private)  # noqa: SIM115 - it is held until the release
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _claim_database(self, shared: bool) -> sa.Connection | None:
        with self._translated():
            connection = self._writer.connect().execution_options(isolation_level="AUTOCOMMIT")
            # Nothing of the session may linger in a pool: closing it has to end the lock.
            connection.detach()
            ask = f"SELECT pg_try_advisory_lock{'_shared' if shared else ''}(%s, %s)"
            if connection.exec_driver_sql(ask, (_CLAIM, self.org)).scalar_one():
                return connection
            connection.close()
            return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _revision(tx: Tx) -> str:
    if not sa.inspect(tx.connection).has_table(VERSION_TABLE):
        return ""
    return str(
        tx.execute(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE))).scalar() or ""
    )


def _upgrade(tx: Tx) -> None:
    from alembic import command  # a ledger that is up to date never pays for this import
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "metergate.ledger:migrations")
    config.attributes["connection"] = tx.connection
    command.upgrade(config, "head")
