"""What a call took is free as soon as it is over, and does not wait for the garbage collector."""

import gc
from pathlib import Path

import pytest

from tests.proxy.house import get
from tests.proxy.test_within import EVENT, EVENTS, OK, always, kept, within
from tests.server.house import statuses

AT_ONCE, TIMES = 30, 8
STREAM = EVENTS + EVENT * 3 + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "answer", "body"),
    [("/a", OK, b""), ("/a", OK, b"x"), ("/free/a", OK, b""), ("/bytes/a", STREAM, b"")],
)
async def test_a_call_leaves_nothing_to_the_garbage_collector(
    tmp_path: Path, path: str, answer: bytes, body: bytes
) -> None:
    async with within(tmp_path, always(answer, [])) as proxy:
        await proxy.app.engine.office.do("credits.grant", {"account": "regular", "amount": "9.00"})
        call = get(path, proxy.key, f"content-length: {len(body)}", method="POST") + body
        await proxy.say(kept(call) + call)
        gc.collect()
        gc.disable()
        try:
            for _ in range(TIMES):
                told = await proxy.say(kept(call) * (AT_ONCE - 1) + call)
                assert statuses(told) == [200] * AT_ONCE
            left = ours_in_circles()
        finally:
            gc.enable()
    assert left < AT_ONCE * TIMES  # a connection leaves some, and there are few of them


def ours_in_circles() -> int:
    """How many objects of ours only the collector finds; SQLAlchemy leaves thousands of its own."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return sum(type(found).__module__.startswith("metergate") for found in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
