"""From an address to connections: how each database is opened, and what its drivers' errors mean."""

from sqlite3 import SQLITE_ERROR
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from metergate.errors import ConfigurationError
from metergate.ledger import silence

WAIT_S: Final = 2
STOPPED_S: Final = 15
PLACES: Final = ("host", "hostaddr", "port", "service")
"""The settings of an address that say where the database is; others may be secrets."""


def shown(url: sa.URL) -> str:
    """The address without its secrets, some of which may stand among its settings."""
    told = {name: value for name, value in url.query.items() if name in PLACES}
    return url.set(drivername=url.get_backend_name(), query=told).render_as_string()


def parsed(text: str) -> sa.URL:
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


def sqlite(url: sa.URL, durable: bool, writer: bool) -> sa.Engine:
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


def postgres(url: sa.URL, durable: bool) -> sa.Engine:
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


def driver(engine: sa.Engine) -> Any:
    return engine.dialect.dbapi


def is_outage(error: Exception, engine: sa.Engine) -> bool:
    dbapi = driver(engine)
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


def is_collision(error: Exception) -> bool:
    """Two writers were in each other's way, and the database chose this one to begin again."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) in ("40001", "40P01")
