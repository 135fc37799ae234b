"""A process that takes payments is killed at any instant, beside a provider that fails: each is paid once."""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from metergate.provider_port.http import ask
from metergate_sandbox import Server
from tests.billing.bench import KEY, NANOS, SECRET
from tests.house.rules import ROOT

ORDERS = 25
KILLS = 4
CALLS = 80


async def run(
    folder: Path,
    server: Server,
    kill_at: int = -1,
    after_s: float = 0,
    story: str = "payer",
    times: int = ORDERS,
) -> str:
    """Run a story until a moment after it has begun so many orders, or to its end; what it said."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "adapters"))),
        "SANDBOX_API_BASE": server.url,
        "SANDBOX_SECRET_KEY": KEY,
        "SANDBOX_WEBHOOK_SECRET": SECRET,
    }
    words = (sys.executable, "-m", f"tests.billing.{story}", str(folder), str(times))
    piped = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, env=environ, cwd=ROOT, stdout=piped)
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(120):
        async for line in process.stdout:
            said += line.decode()
            if line.strip() == str(kill_at).encode():
                await asyncio.sleep(after_s)
                process.send_signal(signal.SIGKILL)
                break
        await process.wait()
    return said


async def test_who_is_killed_while_paying_pays_each_order_once(tmp_path: Path) -> None:
    server = Server(KEY, SECRET, lambda: time.time_ns() // 1000, ask)
    await server.start()
    chance = random.Random(7)
    try:
        for number in range(1, KILLS + 1):
            for _ in range(6):
                server.fault({"kind": "well", "times": chance.randrange(1, 9)})
                server.fault({"kind": chance.choice(["lost", "broken", "busy"])})
            kill_at = number * ORDERS // (KILLS + 1)
            await run(tmp_path / "data", server, kill_at, chance.uniform(0, 0.03))
        said = await run(tmp_path / "data", server)
    finally:
        await server.close()
    assert f"balance {ORDERS * NANOS}" in said
    assert "verified True" in said
    paid = [each for each in server.sandbox.payments.values() if each.state == "succeeded"]
    assert len(paid) == len(server.sandbox.payments) == ORDERS


async def test_who_is_killed_while_usage_is_pushed_has_told_all_of_it_once(tmp_path: Path) -> None:
    server = Server(KEY, SECRET, lambda: time.time_ns() // 1000, ask)
    await server.start()
    chance = random.Random(7)
    try:
        for number in range(1, KILLS + 1):
            for _ in range(6):
                server.fault({"kind": "well", "times": chance.randrange(1, 5)})
                server.fault({"kind": chance.choice(["lost", "broken", "busy"])})
            kill_at = number * CALLS // (KILLS + 1)
            await run(tmp_path / "data", server, kill_at, chance.uniform(0, 0.03), "user", CALLS)
        said = await run(tmp_path / "data", server, story="user", times=CALLS)
    finally:
        await server.close()
    assert f"told {3 * CALLS}" in said
    assert "verified True" in said
    assert sum(each.total.units for each in server.sandbox.usage.counted) == 3 * CALLS
    assert len(server.sandbox.usage.counted) > KILLS, "it was told in several windows"
