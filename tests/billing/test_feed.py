"""News that we fetch, and what adapters remember."""

from collections.abc import Sequence

from metergate.billing import Cashier, Inbox, Opened, Providers, Rounds
from metergate.billing.providers import LedgerNotes
from metergate.errors import ProviderError
from metergate.ledger import provider_notes
from metergate.provider_port import PAYMENT, EventPage, ProviderEvent, ProviderHealth
from tests.billing.bench import Bench


class Chain:
    """A provider whose news is read page by page, two events at a time."""

    live = False

    def __init__(self, events: Sequence[ProviderEvent]) -> None:
        self.events = events
        self.asked: list[str] = []
        self.away = False
        self.wrong: Exception = ProviderError("The node is away.")

    async def health(self) -> ProviderHealth:
        return ProviderHealth(ok=True)

    async def close(self) -> None: ...

    async def events_after(self, cursor: str) -> EventPage:
        self.asked.append(cursor)
        if self.away:
            raise self.wrong
        start = int(cursor or 0)
        page = self.events[start : start + 2]
        return EventPage(page, str(start + len(page)), more=start + 2 < len(self.events))


def news(number: int) -> ProviderEvent:
    return ProviderEvent(f"tx-{number}", "transfer", PAYMENT, f"0x{number}", live=False)


async def test_a_feed_goes_on_where_it_was_left_also_after_an_outage(bench: Bench) -> None:
    chain = Chain([news(number) for number in range(5)])
    opened = Opened("chain", chain, "chain")
    assert await bench.inbox.fetch(opened) == 5  # all pages that are there
    assert chain.asked == ["", "2", "4"]
    chain.away = True
    try:
        await bench.inbox.fetch(opened)
    except ProviderError:
        chain.away = False
    chain.events = [*chain.events, news(5)]
    assert await bench.inbox.fetch(opened) == 1
    assert [event.event_id for event in reversed(await bench.events())] == [f"tx-{n}" for n in range(6)]


async def test_a_feed_that_nobody_understands_keeps_no_other_from_being_read(bench: Bench) -> None:
    broken, well = Chain([]), Chain([news(0)])
    broken.away, broken.wrong = True, KeyError("what an adapter did not think of")
    both = Providers([Opened("broken", broken, "chain"), Opened("well", well, "chain")])
    cashier = Cashier(lambda: bench.office.desk, lambda: both, bench.clock, shared=False)
    await Rounds(cashier, Inbox(cashier)).run_once()
    assert [event.provider for event in await bench.events()] == ["well"]


async def test_a_feed_that_is_read_again_changes_nothing(bench: Bench) -> None:
    opened = Opened("chain", Chain([news(0)]), "chain")
    await bench.inbox.fetch(opened)
    await bench.ledger.write(lambda tx: provider_notes.write(tx, "chain", "cursor", ""))
    assert await bench.inbox.fetch(opened) == 0
    assert len(await bench.events()) == 1


async def test_notes_are_each_providers_own_and_taken_once(any_bench: Bench) -> None:
    ledger = any_bench.ledger
    mine, theirs = LedgerNotes(lambda: ledger, "a"), LedgerNotes(lambda: ledger, "b")
    assert await mine.take("amount:10.000001", "p1")
    assert not await mine.take("amount:10.000001", "p2")
    assert await theirs.take("amount:10.000001", "p3")
    await mine.write("amount:10.000001", "p4")
    await mine.write("cursor", "7")
    assert await mine.read("amount:10.000001") == "p4"
    assert await mine.listed("amount:") == {"amount:10.000001": "p4"}
    await mine.forget("amount:10.000001")
    assert await mine.read("amount:10.000001") is None
    assert await theirs.read("amount:10.000001") == "p3"
