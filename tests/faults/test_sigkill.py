"""A process may be killed at any instant: every call that reached the app is in the ledger, once."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metergate import Gate
from metergate.config.settings import Settings
from tests.faults.busy import PRICE, TASKS, policy

ROOT = Path(__file__).parents[2]
SEED = 20_26
GRANTED = 10_000 * 10**9


def until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the process did not get that far"
        time.sleep(0.002)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def run_and_kill(folder: Path, log: Path, seed: int, outcome: str) -> None:
    """Let a fresh process serve calls for a random while, then kill it."""
    before = len(lines(log))
    wanted = random.Random(seed).randrange(20, 600)
    command = [sys.executable, "-m", "tests.faults.busy", str(folder), str(log), str(seed), outcome]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) as process:
        until(lambda: len(lines(log)) >= before + wanted, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()


async def all_rows(gate: Gate) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await gate.office.usage.page(limit=1000, after=after)
        rows += page["data"]
        if not page["has_more"]:
            return rows
        after = page["after"]


@pytest.mark.parametrize("outcome", ["minimum", "hold", "release"])
async def test_every_call_that_reached_the_app_is_in_the_ledger_once(tmp_path: Path, outcome: str) -> None:
    folder, log = tmp_path / "data", tmp_path / "log"
    for round in range(2):
        run_and_kill(folder, log, SEED + round, outcome)
    served = dict(line.split() for line in lines(log))
    async with Gate.open(policy(outcome), settings=Settings(data=folder)) as gate:
        rows = await all_rows(gate)
        assert (await gate.office.books.verify())["differences"] == []
        spent = sum(row["cost"]["nanos"] for row in rows)
        assert await gate.balance("acct") == GRANTED - spent
    assert set(Counter(row["request_id"] for row in rows).values()) == {1}
    billed = {row["request_id"]: row for row in rows}
    assert set(served) <= set(billed)
    # What was dispatched and killed before the app's first line could not be told from what was served.
    assert len(set(billed) - set(served)) <= 2 * TASKS
    # What a client has seen end was measured; only what was cut off may cost what the policy guesses.
    assert not [id for id in lines(log.with_suffix(".answered")) if billed[id]["measured"] == "unknown"]
    unseen = [row for row in rows if row["measured"] == "unknown"]
    assert unseen
    for row in rows:
        assert row["cost"]["nanos"] == _price(row, outcome), row


def _price(row: dict[str, Any], outcome: str) -> int:
    """A byte or a call costs a cent; what nobody saw the end of costs what the policy says."""
    if row["measured"] != "unknown":
        return PRICE
    held = {"calls": PRICE, "bytes": 7 * PRICE}[row["meter"]]
    known = {"calls": PRICE, "bytes": 0}[row["meter"]]
    return {"hold": held, "minimum": known, "release": 0}[outcome]


HOLDING = """
import asyncio, os, sys
from pathlib import Path
from metergate import Gate
from metergate.config.settings import Settings
from tests.faults.busy import policy

async def main():
    async with Gate.open(policy("hold"), settings=Settings(data=Path(sys.argv[1]))) as gate:
        await gate.office.accounts.create("acct")
        await gate.office.credits.grant("acct", "1.00")
        inner = gate.engine.gate
        member = await inner.members.reporting("acct", "", inner.clock())
        call = inner.admit(member, inner.policy.routes[0], "/call", inner.request_id())
        os.write(1, b"%d\\n" % call.values[0])
        await asyncio.Event().wait()

asyncio.run(main())
"""


def kill_after_a_line(command: list[str]) -> bytes:
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    return line


async def test_a_hold_whose_call_was_never_dispatched_is_released(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path / "data")]
    assert kill_after_a_line(command) == b"990000000\n"
    async with Gate.open(policy("hold"), settings=Settings(data=tmp_path / "data")) as gate:
        assert await gate.balance("acct") == 10**9
        assert await all_rows(gate) == []
