"""What `metergate recover` does by hand: the steps of the worker, at once and with a word on each."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from metergate.store.journals import Journals, found_below, taken
from metergate.worker.entrance import Entrance
from metergate.worker.orphans import Orphans

SPACE: Final = re.compile("[0-9a-f]{12}")
"""How the folder of a ledger is called, with the journals of its processes in it."""
AGAIN_S: Final = 0.1
NONE: Final[Mapping[str, int]] = MappingProxyType({})
Finding = dict[str, Any]
"""`ok`, a `sentence`, and the numbers behind it."""


class Repair:
    def __init__(self, entrance: Entrance, orphans: Orphans, journals: Journals) -> None:
        self._entrance = entrance
        self._orphans = orphans
        self._journals = journals

    async def machine(self) -> AsyncIterator[Finding]:
        """End what processes of this machine have left."""
        await _until(self._orphans.run_once)
        for told in self._orphans.done:
            yield _finding(*told)
        if not self._orphans.done:
            yield _finding(self._journals.folder, "every journal belongs to a process that lives")

    async def folder(self, folder: Path) -> AsyncIterator[Finding]:
        """End what the journals of another machine tell of. They stay where they are."""
        journals = found_below(folder)
        if not journals:
            yield _finding(
                folder, "there is no journal in it; name the journals of the other machine", ok=False
            )
        for journal in journals:
            yield await self._one(journal)

    async def _one(self, journal: Path) -> Finding:
        space = journal.parent.name
        if SPACE.fullmatch(space) and space != self._journals.folder.name:
            return _finding(journal, "it belongs to another ledger; name that one's policy", ok=False)
        claim = taken(journal, copied=True)
        if claim is None:
            return _finding(journal, "its process lives, and ends its calls by itself")
        orphan = await self._orphans.adopt(claim, copied=True)
        try:
            await _until(lambda: self._orphans.end(orphan))
        except BaseException:
            claim.leave()
            raise
        return _finding(journal, orphan.sentence(), orphan.counts())

    async def store(self) -> Finding:
        """Fill the store from the ledger and the journals, whatever it holds."""
        if await self._entrance.rebuild():
            return _finding("store", "it is filled from the ledger and the journals")
        return _finding("store", "another process is filling it; ask again in a moment", ok=False)


async def _until(is_done: Callable[[], Awaitable[bool]]) -> None:
    """Try again for as long as the ledger does not have what is on its way to it."""
    while True:
        if await is_done():
            return
        await asyncio.sleep(AGAIN_S)


def _finding(what: object, told: str, counts: Mapping[str, int] = NONE, *, ok: bool = True) -> Finding:
    return {"ok": ok, "what": str(what), "sentence": f"{what}: {told}.", **counts}
