"""A process that is killed has lost nothing of what it had said was done."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from metergate.store.journal import HOLD, RELEASE, SETTLE, read
from metergate.wire import decode_hold

PROCESS = """
import os, sys
from pathlib import Path
from metergate.core.budget import BALANCE, COST, Draw
from metergate.core.facts import AccountFacts
from metergate.core.hold import Terms
from metergate.ports import Hold, PutAccount, Settle
from metergate.store.embedded import EmbeddedStore
from metergate.store.journal import Journal
from metergate.wire import encode_terms

store = EmbeddedStore(Journal(Path(sys.argv[1]), segment_bytes=8192))
store.sync((PutAccount(AccountFacts("acct"), 10**9),), 0)
terms = encode_terms(Terms("acct", "", "", "", "", "", "", "USD", ()))
draws = (Draw(BALANCE, "credits:acct", 1, 0, 0, 0, COST),)

def say(what, op):
    os.write(1, f"{what} {op}\\n".encode())

held = []
for n in range(10**6):
    op = f"op-{n}"
    store.hold((Hold(op, "acct", 1, draws, 1, terms, op),), 0)
    store.dispatch(op)
    say("dispatched", op)
    held.append(op)
    if n % 3 == 0:
        settled = held.pop(0)
        store.settle((Settle(settled, (1,), settled.encode()),), 0)
        say("settled", settled)
    if n % 7 == 0:
        released = held.pop(0)
        store.release((released,), 0)
        say("released", released)
    if n % 50 == 49:
        store.prepare()
        flushed = store.drain(10)
        for entry in flushed:
            say("flushed", entry.event.decode())
        store.acknowledge([entry.id for entry in flushed])
"""


@pytest.mark.parametrize("lines", [3, 400, 2500])
def test_what_was_said_to_be_done_is_in_the_journal(tmp_path: Path, lines: int) -> None:
    """Also what was said while the signal was on its way, of which the process knows nothing."""
    said: dict[str, set[str]] = {"dispatched": set(), "settled": set(), "released": set(), "flushed": set()}
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        heard = list(islice(process.stdout, lines))
        process.kill()
        heard += process.stdout.readlines()
    for line in heard:
        what, _, op = line.rstrip("\n").partition(" ")
        said[what].add(op)
    records = list(read(tmp_path))
    marked = {decode_hold(payload)[0] for kind, mark, payload in records if kind == HOLD and mark}
    ended = {payload.decode() for kind, _, payload in records if kind in (SETTLE, RELEASE)}
    assert said["settled"] - said["flushed"] <= {r.payload.decode() for r in records if r.kind == SETTLE}
    assert said["dispatched"] - said["settled"] - said["released"] <= marked
    # A call that had ended is not open in the journal: its end is there, or everything of it is gone.
    assert (said["settled"] | said["released"]) & marked <= ended
