"""The feed: transfers to us, block by block, as far as blocks are final. A hint to look, as all news is.

The cursor has a place for each chain: the next block, and the hash of the one before. It moves only over
blocks that the nodes have shown, and a little of what was read is read again, because a node is often many
machines that do not all know the same at once. When the block before is another than it was, blocks went that
were called final: then what was credited of them is looked at again.
"""

import json
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from metergate.errors import ProviderError
from metergate.ports import Clock
from metergate.provider_port import PAYMENT, EventPage, ProviderEvent, TryAgain, UnknownOutcome
from metergate_web3.books import Books, amount_of
from metergate_web3.node import Block, Nodes, Refused
from metergate_web3.transfers import Transfer, mined, seen

log = logging.getLogger("metergate.web3")

OVERLAP: Final = 16
LATE_US: Final = 3600 * 10**6
"""No chain takes so long to call a block final: it stands still, or its nodes do."""
DEEP: Final = 256
"""How far back is read again after final blocks went."""


class Place(NamedTuple):
    next: int
    hash: str
    """Of the block before; empty at first."""


class Page(NamedTuple):
    events: Sequence[ProviderEvent]
    place: Place
    more: bool


class Watcher:
    def __init__(self, chains: Sequence[Nodes], books: Books, clock: Clock) -> None:
        self._chains = chains
        self._books = books
        self._clock = clock
        self._late: set[int] = set()
        """Chains of which it is told already."""

    async def events_after(self, cursor: str) -> EventPage:
        """A page of every chain. One whose nodes are away keeps its place and stops no other."""
        told = json.loads(cursor) if cursor else {}
        places = {int(id): Place(*place) for id, place in told.items()}
        events: list[ProviderEvent] = []
        more = False
        failed: list[tuple[int, ProviderError]] = []
        for nodes in self._chains:
            id = nodes.chain.id
            try:
                page = await self._page(nodes, places.get(id))
            except ProviderError as error:
                failed.append((id, error))
                continue
            if page is not None:
                events += page.events
                places[id], more = page.place, more or page.more
        if len(failed) == len(self._chains):
            raise failed[0][1]
        for id, why in failed:
            log.warning("The chain %s cannot be read now: %s", id, why)
        return EventPage(events, json.dumps({str(id): place for id, place in places.items()}), more)

    async def _page(self, nodes: Nodes, place: Place | None) -> Page | None:
        await nodes.ready()
        final = await nodes.final()
        if final is None:
            return None
        self._mind(nodes.chain.id, final)
        if place is None:
            since = await self._books.since(nodes.chain.id, final)
            place = Place(min(since.number, final.number), "")
        if final.number < place.next:  # nothing new, or a node that is behind
            return Page((), place, more=False)
        first, events = await self._start(nodes, place)
        found, last = await self._read(nodes, first, final)
        for tx in dict.fromkeys([each.tx for each in found if _counts(nodes, each)]):
            events += await self._transfers(nodes, tx, final)
        return Page(events, Place(last.number + 1, last.hash), last.number < final.number)

    def _mind(self, chain: int, final: Block) -> None:
        """Say once that payments of a chain wait, until it goes on."""
        late_us = self._clock() - final.at_us
        if late_us <= LATE_US:
            self._late.discard(chain)
        elif chain not in self._late:
            self._late.add(chain)
            log.error(
                "The newest final block of the chain %s is %s s old, and what is paid there waits: look at "
                "its nodes.",
                chain,
                late_us // 10**6,
            )

    async def _start(self, nodes: Nodes, place: Place) -> tuple[int, list[ProviderEvent]]:
        """Where to read from; with what has to be looked at again, where final blocks went."""
        before = await nodes.block(place.next - 1) if place.hash else None
        if before is None or before.hash == place.hash:
            return max(0, place.next - min(OVERLAP, nodes.window // 2)), []
        first = max(0, place.next - DEEP)
        log.error("Final blocks of the chain %s went: raise its confirmations.", nodes.chain.id)
        gone = await self._books.credited_since(nodes.chain.id, first)
        return first, [self._news("reorganised", each, place.hash, nodes) for each in gone]

    async def _read(self, nodes: Nodes, first: int, final: Block) -> tuple[list[Transfer], Block]:
        """As many blocks as a node gives at once, and the last of them as it shows it."""
        while True:
            last = min(final.number, first + nodes.window - 1)
            try:
                found = await seen(nodes, first, last)
            except Refused:
                if last == first:
                    raise
                nodes.narrow(last - first + 1)
                continue
            except UnknownOutcome:  # too much for the time that it has; the next page is a shorter one
                nodes.narrow(last - first + 1)
                raise
            shown = await nodes.block(last)
            if shown is None:
                raise TryAgain(f"The chain {nodes.chain.id} has no block {last} that its nodes agree on.")
            nodes.widen()
            return found, shown

    async def _transfers(self, nodes: Nodes, tx: str, final: Block) -> list[ProviderEvent]:
        """The news of one transaction, as soon as all nodes have it: a hint that comes too early is lost."""
        found = await mined(nodes, tx, final)
        if found is None or not found.final:
            raise TryAgain(
                f"Not every node of the chain {nodes.chain.id} has {tx}, which the first one tells of."
            )
        counted = [each for each in found.transfers if _counts(nodes, each)]
        return [self._news("transfer", each.id, found.hash, nodes) for each in counted]

    def _news(self, type: str, object: str, block: str, nodes: Nodes) -> ProviderEvent:
        """By the block, too: what comes again in another one is news again."""
        id, live = f"{type}:{object}:{block[2:18]}", not nodes.chain.test
        return ProviderEvent(id, type, PAYMENT, object, live=live, at_us=self._clock())


def _counts(nodes: Nodes, found: Transfer) -> bool:
    """Whether it is worth something. Strangers send nothing, and dust, so that their addresses are copied."""
    token = nodes.chain.token(found.token)
    return token is not None and amount_of(token, found.units).minor > 0
