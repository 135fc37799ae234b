"""A data folder without room: nothing is served that could not be proven later, and nothing is lost."""

from collections import Counter
from pathlib import Path

from metergate.testing.asgi import Receive, Scope, Send
from tests.shell import hello, metered, problem
from tests.store.disk import full_disk
from tests.waiting import until

LONG = "/x/" + "a" * 8000
"""Every event carries its path, so that a journal of 16 MB is soon full."""


async def test_a_full_disk_refuses_calls_and_loses_none(tmp_path: Path) -> None:
    """Calls go on in the room that was set aside; then 503 until there is room again."""
    served: Counter[str] = Counter()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        served[scope["path"]] += 1
        await hello(scope, receive, send)

    statuses: Counter[int] = Counter()
    async with metered(app, tmp_path) as shell:
        await shell.engine.office.credits.grant("acct", "1000.00")
        with full_disk():
            while (answer := await shell.fetch("GET", LONG)).status == 200:
                statuses[200] += 1
                assert statuses[200] < 10_000
            assert answer.status == 503
            problem(answer, "store_unavailable")
            assert answer.header("retry-after")
            assert (await shell.fetch("GET", "/free/x")).status == 200
            assert (await shell.fetch("GET", "/public", key="")).status == 200
        await until(lambda: shell.engine.foundation.store.health().ok)
        assert (await shell.fetch("GET", "/x")).status == 200
        await shell.settled()
        await shell.engine.foundation.worker.flusher.run_dry()
        totals = await shell.engine.office.do("usage.totals", {"account": "acct"})
        (total,) = totals["data"]
        assert statuses[200] == served[LONG]
        assert total["units"] == statuses[200] + 1
