"""The proof: that the ledger follows from its own rows, and that the counters say what the ledger says."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from metergate.admin import counters, inputs, shapes
from metergate.admin.desk import Desk, Json
from metergate.core.money import shown
from metergate.errors import InvalidInput
from metergate.ledger import balances, chain
from metergate.ledger.database import Tx
from metergate.ledger.differences import Difference
from metergate.ledger.verify import STEPS, take

T = TypeVar("T")
COUNTERS: Final = "counters"
DIFFERENCES_MAX: Final = 1000
"""How many are told of one step; whoever has more knows enough."""


class Proof:
    """The part of the books that proves them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def verify(self, head: object = None, step: object = None) -> Json:
        """Derive every balance again; `differences` says of each that is not what it should be.

        `head` is a link of the chain that was kept elsewhere; `step` proves one part only.
        """
        pinned = "" if head is None else inputs.text(head, "a link as number:hash")
        if pinned and not _is_link(pinned):
            raise InvalidInput("Give the link as metergate ledger head showed it, such as 12:0af3….")
        steps = [*STEPS, COUNTERS] if step is None else [_step(step)]
        await self._desk.hooks.refresh()
        found: list[Difference] = []
        moving = 0
        for each in steps:
            if each == COUNTERS:
                told = await counters.compare(self._desk)
                moving, more = told.moving, told.differences
            else:
                more = await self._aside(_taken(each, pinned))
            found += more
        if step is None:
            self._desk.ledger.proved(len(found))
        newest, unchained = await self._aside(lambda tx: (chain.head(tx), chain.unchained(tx)))
        return {
            "ok": not found,
            "differences": [each._asdict() for each in found],
            "head": newest.name,
            "unchained": unchained,
            "moving": moving,
        }

    async def steps(self) -> Json:
        """The parts that `verify` proves one by one."""
        return {"steps": [*STEPS, COUNTERS]}

    async def head(self) -> Json:
        """The newest link of the chain over the ledger, for somebody outside to keep."""
        newest, unchained = await self._desk.fresh(lambda tx: (chain.head(tx), chain.unchained(tx)))
        return {
            "head": newest.name,
            "link": newest.link,
            "hash": newest.hash,
            "at": shapes.when(newest.at_us),
            "unchained": unchained,
        }

    async def derive(self) -> Json:
        """Make everything anew that the ledger keeps and could derive: balances, rests of grants, windows."""

        def work(tx: Tx) -> None:
            balances.rebuild(tx)
            self._desk.note(tx, "ledger.derive", "ledger")

        await self._desk.ledger.write(work)
        return {"derived": True}

    async def _aside(self, work: Callable[[Tx], T]) -> T:
        """Read in a thread of its own: the ledger's has usage to write meanwhile."""

        def read() -> T:
            with self._desk.ledger.ledger.read() as tx:
                return work(tx)

        return await asyncio.to_thread(read)


def _taken(step: str, pinned: str) -> Callable[[Tx], list[Difference]]:
    def work(tx: Tx) -> list[Difference]:
        return [each for each, _ in zip(take(tx, step, pinned), range(DIFFERENCES_MAX), strict=False)]

    return work


def _step(value: Any) -> str:
    if value not in (*STEPS, COUNTERS):
        raise InvalidInput(f"There is no step {shown(value)}; the steps are {', '.join((*STEPS, COUNTERS))}.")
    return str(value)


def _is_link(text: str) -> bool:
    number, _, hash = text.partition(":")
    return number.isdigit() and len(hash) == 64 and set(hash) <= set("0123456789abcdef")
