"""One customer's absurd counts are that customer's alone: everybody's usage reaches the ledger, before and
after a restart."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from metergate.ledger.database import Ledger
from metergate.testing.asgi import Answer
from tests.shell import Shell, hello, metered, policy

COUNTS = policy(
    meters={"requests": {"count": "calls"}, "n": {"count": "json", "path": "$.n", "of": "request"}},
    prices={"requests": {"price": "0.01"}, "n": {"price": "0.001"}},
    routes=[{"match": "POST /n", "meter": "n"}, {"match": "* /**", "meter": "requests"}],
)


async def at_once(shell: Shell, body: bytes, key: str, times: int) -> list[Answer]:
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await shell.fetch("POST", "/n", body, key))

    async with anyio.create_task_group() as group:
        for _ in range(times):
            group.start_soon(ask)
    return answers


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("n", [9_000_000_000_000, 2**53 - 1, 10**9])
async def test_counts_beyond_all_money_stop_nobody(
    tmp_path: Path, request: pytest.FixtureRequest, database: str, n: int
) -> None:
    address: dict[str, Any] = {}
    if database == "postgresql":
        address = {"ledger": str(request.getfixturevalue("postgres_url"))}
        ledger = Ledger.open(address["ledger"])
        ledger.migrate()
        ledger.close()
    async with metered(hello, tmp_path, COUNTS, **address) as shell:
        evil = await shell.customer("evil", "1.00")
        await at_once(shell, b'{"n": %d}' % n, evil, 3)
        assert [(await shell.fetch("GET", "/x")).status for _ in range(5)] == [200] * 5
        assert len(await shell.rows()) == 5
        assert not shell.engine.foundation.worker.outage
        await shell.rows("evil")
    async with metered(hello, tmp_path, COUNTS, customer=False, **address) as shell:
        assert len(await shell.rows()) == 5
