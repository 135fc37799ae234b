"""What the middleware does to the garbage collector, each time in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SERVE = """
import asyncio, gc, sys
from metergate import MeterGate
from metergate.testing.asgi import fetch

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})

exec(sys.argv[1])
policy = {"metergate": 1, "store": "memory", "routes": [{"match": "* /**", "public": True}]}
metered = MeterGate(app, policy=policy)
print(gc.get_threshold(), gc.get_freeze_count() > 0)
assert asyncio.run(fetch(metered, "GET", "/")).status == 204
print(gc.get_threshold(), gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("arranged", "before", "after"),
    [
        ("gc.set_threshold(700, 20, 30)", "(700, 20, 30) False", "(10000, 20, 30) True"),
        ("gc.set_threshold(50_000, 20, 30)", "(50000, 20, 30) False", "(50000, 20, 30) True"),
        ("gc.set_threshold(700, 20, 30); gc.freeze()", "(700, 20, 30) True", "(700, 20, 30) True"),
        ("gc.set_threshold(700, 20, 30); gc.disable()", "(700, 20, 30) False", "(700, 20, 30) False"),
    ],
)
def test_the_heap_is_set_aside_when_the_first_request_comes_unless_the_app_has_seen_to_it(
    arranged: str, before: str, after: str, tmp_path: Path
) -> None:
    asked = [sys.executable, "-c", SERVE, arranged]
    told = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert told.splitlines() == [before, after]
