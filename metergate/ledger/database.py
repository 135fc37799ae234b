"""The one edge to the database: connections, transactions, migrations, the claim and health.

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
from sqlite3 import SQLITE_ERROR
from typing import IO, Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from metergate.errors import ConfigurationError
from metergate.ledger import silence
from metergate.ledger.errors import LedgerBusy, LedgerUnavailable
from metergate.ledger.migrations import HEAD, VERSION_TABLE
from metergate.ledger.tables import epochs, organisations

Row = sa.Row[*tuple[Any, ...]]
Rows = sa.CursorResult[*tuple[Any, ...]]
Select = sa.Select[*tuple[Any, ...]]

WAIT_S: Final = 2
STOPPED_S: Final = 15
_CLAIM: Final = 0x6D657467  # "metg": the class of the advisory lock; the object is the organisation
_MIGRATION: Final = 0x6D65746D
_LEADER: Final = 0x6D65746C
PLACES: Final = ("host", "hostaddr", "port", "service")
"""The settings of an address that say where the database is; others may be secrets."""


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
        return _driver(self.connection.engine)


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
        self.name = _shown(url)
        self.sqlite = url.get_backend_name() == "sqlite"
        self.path = Path(url.database or "") if self.sqlite else None
        self._claim: IO[bytes] | sa.Connection | None = None
        if self.sqlite:
            self._writer = _sqlite(url, durable, writer=True)
            self._reader = _sqlite(url, durable, writer=False)
        else:
            self._writer = _postgres(url, durable)
            self._lines = silence.Lines(self._writer)
            self._reader = self._writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @classmethod
    def open(cls, url: str, *, org: int = 1, durable: bool = True) -> Self:
        """Open without connecting; `durable=False` trades the last moments before a power loss for speed."""
        return cls(_parsed(url), org, durable)

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
        except (SQLAlchemyError, _driver(self._writer).Error) as error:
            if not _is_outage(error, self._writer):
                raise
            cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            kind = LedgerBusy if _is_collision(error) else LedgerUnavailable
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


def _shown(url: sa.URL) -> str:
    """The address without its secrets, some of which may stand among its settings."""
    told = {name: value for name, value in url.query.items() if name in PLACES}
    return url.set(drivername=url.get_backend_name(), query=told).render_as_string()


def _parsed(text: str) -> sa.URL:
    try:
        text.encode()
        url = sa.make_url(text)
    except (SQLAlchemyError, ValueError):
        url = sa.URL.create("none")
    backend = url.get_backend_name()
    if "@" in (url.host or ""):
        raise ConfigurationError("Write an @ in the password of the ledger's address as %40.")
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and not url.host and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+pysqlite")
    raise ConfigurationError(
        "Write the ledger as sqlite:///path/to/file or postgresql://user@host/database;"
        " it cannot live in memory."
    )


def _sqlite(url: sa.URL, durable: bool, writer: bool) -> sa.Engine:
    # One writer, and readers that never checkpoint: before SQLite 3.51.3 two connections that commit and
    # checkpoint at the same moment can damage the file.
    size = {"pool_size": 1, "max_overflow": 0} if writer else {"pool_size": 4, "max_overflow": 4}
    engine = sa.create_engine(
        url,
        pool_timeout=WAIT_S,
        connect_args={"timeout": WAIT_S, "isolation_level": None, "check_same_thread": False},
        poolclass=sa.QueuePool,
        hide_parameters=True,
        **size,
    )
    pragmas = [
        # Usage rows come in by the thousand: larger pages, and so more of them between two checkpoints.
        "page_size=8192",
        f"busy_timeout={WAIT_S * 1000}",
        f"synchronous={'FULL' if durable else 'NORMAL'}",
        "foreign_keys=ON",
        # Otherwise INSERT OR REPLACE would delete rows behind the back of the triggers.
        "recursive_triggers=ON",
        "cache_size=-32000",
        *(["journal_mode=WAL"] if writer else ["query_only=ON", "wal_autocheckpoint=0"]),
    ]
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgres(url: sa.URL, durable: bool) -> sa.Engine:
    patience = {"connect_timeout": silence.CONNECT_S, **silence.KEEPALIVE}
    try:
        engine = sa.create_engine(
            url,
            pool_timeout=WAIT_S,
            pool_pre_ping=True,
            connect_args={name: value for name, value in patience.items() if name not in url.query},
            isolation_level="READ COMMITTED",
            hide_parameters=True,  # errors reach logs, and the values are the customers'
        )
    except ModuleNotFoundError:
        raise ConfigurationError(
            "A PostgreSQL ledger needs psycopg: run `pip install 'metergate[postgres]'`."
        ) from None
    # A process that was stopped in the middle of a transaction must not hold up all the others.
    settings = [f"idle_in_transaction_session_timeout TO '{STOPPED_S}s'", f"lock_timeout TO '{STOPPED_S}s'"]
    if not durable:
        settings.append("synchronous_commit TO off")

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        for setting in settings:
            connection.execute(f"SET {setting}")
        connection.commit()

    return engine


def _driver(engine: sa.Engine) -> Any:
    return engine.dialect.dbapi


def _is_outage(error: Exception, engine: sa.Engine) -> bool:
    dbapi = _driver(engine)
    if isinstance(error, PoolTimeout):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if getattr(cause, "sqlite_errorcode", None) == SQLITE_ERROR:
        return False  # the SQL itself is wrong, which SQLite files under operational errors too
    # A file that is no database is a plain DatabaseError; its subclasses for wrong SQL and data are bugs.
    return (
        isinstance(cause, (dbapi.OperationalError, dbapi.InterfaceError, dbapi.InternalError))
        or type(cause) is dbapi.DatabaseError
    )


def _is_collision(error: Exception) -> bool:
    """Two writers were in each other's way, and the database chose this one to begin again."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) in ("40001", "40P01")


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
