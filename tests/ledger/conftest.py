"""Every story is told twice: over a SQLite file and over a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from metergate.ledger import Ledger
from tests.ledger.calls import DATABASES


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """An empty ledger at the newest revision."""
    ledger = Ledger.open(url)
    ledger.migrate()
    yield ledger
    ledger.close()
