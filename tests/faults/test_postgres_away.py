"""A PostgreSQL that is stopped under a running service, and comes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from metergate import ConfigurationError
from metergate.ledger.database import Ledger
from tests.shell import CENT, hello, metered, policy, problem
from tests.waiting import until


@contextmanager
def away(url: str) -> Iterator[None]:
    """Every session is ended and no new one is let in."""
    plain = url.replace("+psycopg", "")
    name = str(psycopg.conninfo.conninfo_to_dict(plain)["dbname"])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(plain, dbname="postgres", autocommit=True) as connection:
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(ended, (name,))
        try:
            yield
        finally:
            connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


async def test_calls_go_on_without_the_ledger_and_are_in_it_afterwards(
    tmp_path: Path, postgres_url: str
) -> None:
    """Until too many wait; then 503, free routes go on, and it recovers by itself.

    The ledger stays this process's own: nobody slips in because the session that held the claim has ended.
    """
    ledger = Ledger.open(postgres_url)
    ledger.migrate()
    ledger.close()
    async with metered(hello, tmp_path, policy(backlog=5), ledger=postgres_url) as shell:
        worker, store = shell.engine.foundation.worker, shell.engine.foundation.store
        assert (await shell.fetch("GET", "/x")).status == 200
        await shell.settled()
        await until(lambda: not store.health().backlog)
        with away(postgres_url):
            assert [(await shell.fetch("GET", "/x")).status for _ in range(5)] == [200] * 5
            await until(lambda: bool(worker.outage))
            refused = await shell.fetch("GET", "/x")
            assert refused.status == 503
            problem(refused, "ledger_backlog")
            assert refused.header("retry-after") == "5"
            assert (await shell.fetch("GET", "/free/x")).status == 200
            assert (await shell.fetch("GET", "/public", key="")).status == 200
            told = await shell.engine.office.do("health", {})
            assert told["ledger"]["state"] == "down"
        await until(lambda: not store.health().backlog)
        assert (await shell.fetch("GET", "/x")).status == 200
        another = Ledger.open(postgres_url)
        with pytest.raises(ConfigurationError, match="already runs an embedded store"):
            another.claim()
        another.close()
        assert len(await shell.rows()) == 7
        assert await shell.settled() == 10**9 - 7 * CENT
