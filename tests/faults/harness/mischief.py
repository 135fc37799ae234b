"""Faults at random, one after the other, from a seed that tells all of them again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

from tests.faults.harness.postgres import Postgres
from tests.faults.harness.processes import Child
from tests.faults.harness.valkey import Valkey
from tests.faults.harness.wire import Fault, Wire
from tests.faults.harness.world import World

Kinds = dict[str, tuple[Callable[[], object], int]]

SHORTEST_S, LONGEST_S = 0.0, 0.4
"""Between the first calls that are served after a fault, and the next one."""
TAIL = 20_000
"""Bytes of the append-only file: what some hundred calls have left there."""
SIGNS = (b"EVALSHA", b"g:rich", b"g:rich")
"""Of whatever asks something of the store; and of what holds, which is asked by the account's generation."""
NETWORK = "the network"
SERVED = 20
PATIENCE_S = 4.0
"""How long it waits for so many served calls: what never heals is for the end to complain of."""


class Mischief:
    def __init__(self, world: World, seed: int, *, losses: bool = False, only: str = "") -> None:
        self.done: Counter[str] = Counter()
        self._world = world
        self._random = random.Random(seed)
        self._losses = losses
        self._only = only
        self._loop = asyncio.get_running_loop()

    async def do(self, seconds: float) -> None:
        """Do harm for so long."""
        end = time.monotonic() + seconds
        kinds = {name: kind for name, kind in self._kinds().items() if name.startswith(self._only)}
        while time.monotonic() < end:
            await self._calls_are_served()
            self._world.keep_running()
            await asyncio.sleep(self._random.uniform(SHORTEST_S, LONGEST_S))
            name = self._random.choices(list(kinds), weights=[weight for _, weight in kinds.values()])[0]
            await asyncio.to_thread(kinds[name][0])
            self.done[name] += 1

    async def _calls_are_served(self) -> None:
        statuses, deadline = self._world.callers.statuses, time.monotonic() + PATIENCE_S
        wanted = statuses[200] + SERVED
        while statuses[200] < wanted and time.monotonic() < deadline:  # noqa: ASYNC110  # it counts answers
            await asyncio.sleep(0.02)

    def _kinds(self) -> Kinds:
        """What can be done, and how often beside the others."""
        gates, workers = self._world.gates, self._world.workers
        kinds: Kinds = {"a gate is killed": (self._kill_a_gate, 3)}
        if workers:
            # Longer than its holds last: others end what it has in hand, and then it goes on.
            kinds["a gate is frozen"] = (lambda: self._freeze(self._random.choice(gates), 3.5), 2)
            kinds["a worker is killed"] = (lambda: self._random.choice(workers).restart(), 3)
            kinds["a worker is frozen"] = (lambda: self._freeze(self._random.choice(workers), 1.0), 2)
        if (valkey := self._world.valkey) is not None:
            kinds["the store is killed"] = (valkey.restart, 4)
            kinds["the store is frozen"] = (lambda: self._freeze(valkey, 1.6), 2)
            kinds["the store forgets its scripts"] = (lambda: valkey.say("SCRIPT", "FLUSH"), 1)
            if self._losses:
                kinds["the store is emptied"] = (lambda: valkey.say("FLUSHALL"), 6)
                kinds["the store loses its tail"] = (lambda: valkey.lose_the_tail(TAIL), 6)
        if (wire := self._world.wire) is not None:
            kinds |= self._network(wire)
        if (postgres := self._world.postgres) is not None:
            kinds["a session of the ledger is killed"] = (postgres.kill_a_session, 3)
            kinds["the ledger is killed"] = (lambda: self._kill(postgres), 2)
        return kinds

    def _network(self, wire: Wire) -> Kinds:
        """What can become of what processes and the store say to each other."""
        return {
            f"{NETWORK} loses a request": (lambda: self._trap(wire, Fault.LOSE_REQUEST), 1),
            f"{NETWORK} loses an answer": (lambda: self._trap(wire, Fault.LOSE_REPLY), 2),
            f"{NETWORK} loses half an answer": (lambda: self._trap(wire, Fault.HALF_REPLY), 1),
            f"{NETWORK} falls silent": (lambda: self._trap(wire, Fault.SILENCE), 1),
            f"{NETWORK} is cut": (lambda: self._cut(wire), 1),
            f"{NETWORK} is slow": (lambda: self._slow(wire), 1),
        }

    def _trap(self, wire: Wire, fault: Fault) -> None:
        wire.trap(self._random.choice(SIGNS), fault)

    def _cut(self, wire: Wire) -> None:
        wire.refusing = True
        self._loop.call_soon_threadsafe(wire.cut)
        time.sleep(self._random.uniform(0.0, 0.5))
        wire.refusing = False

    def _slow(self, wire: Wire) -> None:
        wire.delay_s = self._random.uniform(0.02, 0.2)
        time.sleep(self._random.uniform(0.1, 0.5))
        wire.delay_s = 0.0

    def _kill_a_gate(self) -> None:
        self._world.gates_killed += 1
        self._random.choice(self._world.gates).restart()

    def _freeze(self, who: Child | Valkey, seconds: float) -> None:
        who.freeze()
        time.sleep(self._random.uniform(0.2, seconds))
        who.thaw()

    def _kill(self, postgres: Postgres) -> None:
        postgres.kill()
        time.sleep(self._random.uniform(0, 0.5))
        postgres.start()


async def survives(
    world: World, seed: int, seconds: float, tasks: int = 2, *, losses: bool = False, only: str = ""
) -> Counter[str]:
    """Customers call while everything is killed at random; afterwards everybody agrees on every call."""
    mischief = Mischief(world, seed, losses=losses, only=only)
    told = f"seed {seed}"
    try:
        async with world.callers.calling(tasks):
            await mischief.do(seconds)
        await world.heals()
        complaints = await world.complaints()
    except BaseException as error:
        error.add_note(f"{told}: {dict(mischief.done)}")
        raise
    assert not complaints, f"{told}, {dict(mischief.done)}:\n" + "\n".join(complaints[:40])
    assert world.callers.statuses[200], told
    return mischief.done
