"""A call that still runs keeps its hold, however long it takes."""

import asyncio
from pathlib import Path

import pytest

from metergate.testing.asgi import Receive, Scope, Send
from metergate.testing.clock import FakeClock
from tests.shell import CENT, metered, policy


@pytest.mark.parametrize("hold_for", ["5s", "10m"])
async def test_a_long_stream_ends_by_itself_and_not_by_the_reaper(tmp_path: Path, hold_for: str) -> None:
    """Longer than its hold was made for, with the machine asleep in between."""
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"last"})

    clock = FakeClock()
    rules = policy(
        meters={"requests": {"count": "bytes"}, "images": {"count": "app"}},
        routes=[{"match": "* /**", "meter": "requests", "hold_for": hold_for}],
    )
    async with metered(app, tmp_path, rules, clock=clock, worker=False) as shell:
        worker = shell.engine.foundation.worker
        async with shell.request("GET", "/x") as request:
            assert await request.chunk() == b"first"
            for seconds in (1, 4, 4.5, 61, 3600):
                clock.advance(seconds=seconds)
                await worker.run_once()
            assert shell.balance() == 10**9 - CENT
            go.set()
            await request.read()
        assert await shell.summary() == [("requests", 9, "measured")]
