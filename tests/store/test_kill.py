"""A process that is killed has lost nothing of what it had said was done."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from metergate.store.journal import DISPATCHED, SETTLED, read
from metergate.wire import decode_events, decode_holds

PROCESS = """
import os, sys
from pathlib import Path
from metergate.core.budget import BALANCE, COST, Draw
from metergate.core.facts import AccountFacts
from metergate.core.hold import Terms
from metergate.ports import Hold, PutAccount, Settle
from metergate.store.embedded import EmbeddedStore
from metergate.store.journal import Journal
from metergate.testing.conformance.bench import an_event
from metergate.wire import decode_events, encode_terms

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
    if n % 6 == 5:
        settled, held = held[:3], held[3:]
        store.settle([Settle(op, (1,), an_event(op)) for op in settled], 0)
        for op in settled:
            say("settled", op)
    if n % 7 == 6:
        released = held.pop(0)
        store.release((released,), 0)
        say("released", released)
    if n % 50 == 49:
        store.prepare()
        flushed = store.drain(10)
        for entry in flushed:
            for event in decode_events(entry.events):
                say("flushed", event.op)
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
    dispatched: set[str] = set()
    settled: set[str] = set()
    released: set[str] = set()
    for kind, payload in read(tmp_path):
        if kind == DISPATCHED:
            dispatched |= {op for op, *_ in decode_holds(payload)}
        elif kind == SETTLED:
            settled |= {event.op for event in decode_events(payload)}
        else:
            released.add(payload.decode())
    assert said["settled"] - said["flushed"] <= settled
    assert said["dispatched"] - said["settled"] - said["released"] <= dispatched
    # A call that had ended is not open in the journal: its end is there, or everything of it is gone.
    assert said["settled"] & dispatched <= settled
    assert said["released"] & dispatched <= released
