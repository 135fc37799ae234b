"""A ledger that is away for a while stops nobody; what was used meanwhile is in it afterwards."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.shell import hello, metered, policy, problem
from tests.waiting import until


@contextmanager
def locked(ledger: Path) -> Iterator[None]:
    """Somebody else holds the ledger's only pen."""
    connection = sqlite3.connect(ledger, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def test_metered_calls_go_on_until_the_backlog_is_full_and_recover_by_themselves(
    tmp_path: Path,
) -> None:
    async with metered(hello, tmp_path, policy(backlog=5)) as shell:
        worker = shell.engine.foundation.worker
        ledger = tmp_path / "data" / "ledger.sqlite"
        with locked(ledger):
            await until(lambda: bool(worker.outage) or not shell.engine.foundation.store.health().backlog)
            statuses = [(await shell.fetch("GET", "/x")).status for _ in range(5)]
            assert statuses == [200] * 5
            await until(lambda: bool(worker.outage))
            refused = await shell.fetch("GET", "/x")
            assert refused.status == 503
            problem(refused, "ledger_backlog")
            assert refused.header("retry-after") == "5"
            assert (await shell.fetch("GET", "/public", key="")).status == 200
            assert (await shell.fetch("GET", "/free/x")).status == 200
        await until(lambda: not shell.engine.foundation.store.health().backlog)
        assert (await shell.fetch("GET", "/x")).status == 200
        assert len(await shell.rows()) == 6
        await until(lambda: not worker.outage)  # it ends with a round, which may be on its way
