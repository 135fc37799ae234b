"""The tables of `make bench`."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks import drain, forwarding, upstream
from benchmarks.accounts import Accounts
from benchmarks.drain import Drained
from benchmarks.forwarding import Forwarded, Taken
from benchmarks.inside import Inside
from benchmarks.rounds import Outcome

GOALS = {"raw": {"metered": 0.55, "redis": 0.55}, "fastapi": {"metered": 0.87, "redis": 0.85}}
STORES = {"metered": "metered, embedded store", "redis": "metered, Valkey"}
TITLES = {"raw": "Raw ASGI app", "fastapi": "FastAPI app"}
INCLUDED = """\
Metered means everything: the key, a hold on the balance, the dispatch and the usage event in the journal,
the settle, the headers metergate-request-id, -cost and -balance, and over the embedded store the flush of
every event into the SQLite ledger. Over Valkey the worker that posts into PostgreSQL is another process, and
comes when the load is over. Ratios are bare over metered CPU time per call of the server's process with all
its threads (kernel included), taken within each round of interleaved slices; the range is that of the rounds.
All books were proven right."""
DRAIN_GOALS = {"PostgreSQL": 0.2}
DRAINED = """\
Included: draining the outbox, decoding the events, a row for each with its indexes, double entry, balances,
grants and windows, the commits, acknowledging. Bare is one COPY (SQLite: one executemany) of the same
finished rows into a table without an index."""


def compared(found: Sequence[Outcome]) -> None:
    print(INCLUDED)
    for each in found:
        _print(each)


def _print(found: Outcome) -> None:
    bare, again = found.cpu_us("bare"), found.ratios("bare again")
    print(f"\n{TITLES[found.kind]}, bare: {bare:.1f} us of CPU per call")
    print(f"  the same app again      {_median(again):.3f} ({again[0]:.3f} to {again[-1]:.3f})")
    for name, goal in GOALS[found.kind].items():
        _print_metered(found, name, goal)


def _print_metered(found: Outcome, name: str, goal: float) -> None:
    bare, metered = found.cpu_us("bare"), found.cpu_us(name)
    ratios, store = found.ratios(name), found.store_us(name)
    added = found.thinking_us[name] - found.thinking_us["bare"]
    print(f"{TITLES[found.kind]}, {STORES[name]}")
    print(f"  CPU per call            {metered:.1f} us: {metered - bare:.1f} us added")
    if store:
        print(f"  the store's CPU         {store:.1f} us per call")
    print(f"  ratio of CPU            {_median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    print(f"  goal {goal}               {_verdict(found, name, goal)}")
    print(f"  ratio of throughput     {found.rps_ratio(name):.3f}")
    print(f"  p50 with think time     {found.thinking_us['bare']:.0f} us, {added:+.0f} us metered")
    print(f"  memory after the load   {found.memory_mb['bare']:.0f} MB and {found.memory_mb[name]:.0f} MB")


def _verdict(found: Outcome, name: str, goal: float) -> str:
    doubt = found.doubt(name)
    if doubt:
        return f"no verdict, {doubt}"
    return "reached" if _median(found.ratios(name)) >= goal else "missed"


def _median(values: list[float]) -> float:
    return values[len(values) // 2]


def inside(within: Inside) -> None:
    print("\nInside one process, without sockets")
    print(f"  an admitted call        {within.added_us:.1f} us added to an app of {within.bare_us:.1f} us")
    print(f"  the flush of an event   {within.flush_us:.1f} us; a bare bulk insert {within.insert_us:.1f} us")


def accounts(found: Mapping[int, Accounts]) -> None:
    print("\nOver Valkey without HTTP: hold, settle and event, in turns of 64 calls")
    for active, taken in found.items():
        costs = f"{taken.gate_us:.1f} us, and {taken.store_us:.1f} us of the Valkey"
        print(f"  {active:>6,} accounts         {costs}")


def drained(found: Sequence[Drained]) -> None:
    print(f"\nRows per second into the ledger, {drain.CALLS:,} calls of {drain.ACCOUNTS} accounts")
    print(DRAINED)
    for each in found:
        posted, bare = statistics.median(each.posted), statistics.median(each.bare)
        keyed, goal = each.ratio(each.keyed), DRAIN_GOALS.get(each.ledger)
        verdict = "" if goal is None else f", goal {goal} {'reached' if keyed >= goal else 'missed'}"
        print(f"  {each.ledger}, calls {each.kind}")
        print(f"    metergate {posted:,.0f}, bare {bare:,.0f}: ratio {each.ratio(each.bare):.2f}")
        print(f"    to a table with a primary key  {keyed:.2f}{verdict}")


def forwarded(found: Forwarded) -> None:
    most = forwarding.STREAMS / upstream.PAUSE_S
    print(f"\nProxies before one upstream: 1 kB answers, and {forwarding.STREAMS} streams of 200 chunks")
    print(f"that come at a pace, so that there are {most:,.0f} chunks a second at most")
    print("             calls/s  CPU a call  chunks/s  CPU a chunk  first chunk  memory a stream")
    for name, memory in found.stream_kb.items():
        rps, call, chunk, first, many = (found.median(name, field) for field in _FIELDS)
        streams = f"{many:9.0f} {chunk:9.1f} us {first:9.0f} us {memory:13.1f} kB"
        print(f"  {name:10} {rps:7.0f} {call:8.1f} us {streams}")
    for name in found.stream_kb:
        if name != "metergate":
            rps, call, chunk, *_ = (found.ratio(field, "metergate", name) for field in _FIELDS)
            print(f"  metergate over {name}: calls/s {rps:.2f}, CPU a call {call:.2f}, a chunk {chunk:.2f}")
    print(
        "  goals: calls/s 0.25 of nginx, 2 of aiohttp and 10 of httpx2; a chunk 2.0 of nginx; 40 kB a stream"
    )


_FIELDS: Sequence[Callable[[Taken], float]] = (
    lambda taken: taken.rps,
    lambda taken: taken.call_us,
    lambda taken: taken.chunk_us,
    lambda taken: taken.first_us,
    lambda taken: taken.chunks_s,
)
