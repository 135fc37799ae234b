"""A journal without its process, in a process that serves and finds it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metergate.core.budget import BALANCE, COST, Draw
from metergate.core.facts import Caller
from metergate.core.hold import Outcome, Terms, UsageEvent, standing_op
from metergate.engine import Engine
from metergate.foundation import Shared, now_us
from metergate.ports import DONE, GRANTED, AskAccount, Hold, Settle, answered
from metergate.store.journalled import Journalled
from metergate.wire import encode_event, encode_terms
from tests.shared.app import POLICY
from tests.shared.house import Desk, Place, valkey_says
from tests.valkey import Server as Valkey
from tests.waiting import until

USD = 10**9


@pytest.fixture
async def engine(place: Place) -> AsyncIterator[Engine]:
    engine = Engine(POLICY, place.settings())
    await engine.start()
    yield engine
    await engine.stop()


def terms(account: str) -> Terms:
    draws = (Draw(BALANCE, f"credits:{account}", 3 * USD, 0, 0, 0, COST),)
    return Terms(account, "", "", "v1", "", "GET /", "ones", "USD", draws, 3, 3 * USD)


def another(engine: Engine) -> Journalled:
    """The store as another process of the machine has it."""
    shared = engine.foundation
    assert isinstance(shared, Shared) and shared.journals is not None and shared.journalled is not None
    return Journalled(shared.journalled.bare, shared.journals)


async def holds(store: Journalled, account: str, *names: str, dispatched: bool = True) -> None:
    (told,) = await answered(store.state((AskAccount(account),)))
    assert isinstance(told, Caller)
    agreed, lasts, draws = encode_terms(terms(account)), now_us() + 3600 * USD, terms(account).draws
    batch = [
        Hold(name, account, told.generation, draws, lasts, agreed, name, None, dispatched) for name in names
    ]
    assert {held.status for held in await store.hold(batch, now_us())} == {GRANTED}


async def died(engine: Engine, account: str) -> Path:
    """The journal of a process that held for three calls, called the app for two, and saw one of them end."""
    gone = another(engine)
    await holds(gone, account, f"{account}-held", dispatched=False)
    await holds(gone, account, f"{account}-running", f"{account}-ended")
    outcome = Outcome(3, (), 3 * USD, "measured", (3 * USD,), terms(account))
    event = encode_event(UsageEvent(f"{account}-ended", f"{account}-ended", now_us(), "/", outcome))
    await gone.settle([Settle(f"{account}-ended", None, event)], now_us())
    assert gone.path is not None
    path = gone.path
    gone.abandon()
    return path


async def test_whoever_is_killed_while_it_takes_over_leaves_it_to_the_next(
    engine: Engine, place: Place
) -> None:
    """Who begins again finds everything done, and changes nothing."""
    office = Desk(engine.office.do)
    await office.customer("heirs", "10")
    kept = place.folder / "kept"
    path = await died(engine, "heirs")
    shutil.copytree(path, kept)
    for _ in range(2):

        async def is_gone() -> bool:
            return not path.exists()  # a test may wait for a disk

        await until(is_gone)
        await office.has_used("heirs", 6)
        assert await office.balance("heirs") == "4.00"
        rows = (await office.ask("usage.list", account="heirs"))["data"]
        assert sorted(row["measured"] for row in rows) == ["measured", "unknown"]
        if kept.exists():
            kept.rename(path)
    await office.proven()


async def test_an_orphan_waits_until_the_ledger_has_what_is_on_its_way(engine: Engine, place: Place) -> None:
    """Else a call that only waits in the outbox could be taken for one that is lost."""
    office = Desk(engine.office.do)
    await office.customer("waits", "10")
    worker, ledger = engine.foundation.worker, engine.foundation.ledger
    await worker.stop()
    path = await died(engine, "waits")
    repair = worker.repair
    assert repair is not None
    orphans = repair._orphans
    assert not await orphans.run_once()
    assert path.exists()
    assert (worker.numbers()["orphans"], worker.numbers()["orphans_ended"]) == (1, 0)
    await worker.flusher.run_dry()
    assert await orphans.run_once()
    assert not path.exists()
    assert (worker.numbers()["orphans"], worker.numbers()["orphans_ended"]) == (0, 1)
    await office.has_used("waits", 6)
    assert ledger.set_aside == 0
    await office.proven()


def test_an_event_loop_that_was_closed_leaves_what_it_had_taken_over_to_the_next(place: Place) -> None:
    engines: list[Engine] = []

    async def begin(*, errands: bool) -> tuple[Engine, Desk]:
        engines.append(Engine(POLICY, place.settings(worker=errands)))
        await engines[-1].start()
        return engines[-1], Desk(engines[-1].office.do)

    async def take_over_and_vanish() -> Path:
        engine, office = await begin(errands=False)
        await office.customer("inherited", "10")
        path = await died(engine, "inherited")
        worker = engine.foundation.worker

        async def waits() -> bool:
            return worker.numbers()["orphans"] == 1

        await until(waits)
        return path

    async def inherit(path: Path) -> None:
        engine, office = await begin(errands=True)
        await until(lambda: not path.exists())
        await office.has_used("inherited", 6)
        await office.proven()
        await engine.stop()

    path = asyncio.run(take_over_and_vanish())
    asyncio.run(inherit(path))


async def two_of_a_front(engine: Engine, account: str) -> tuple[Journalled, list[str]]:
    """A process that has made two holds for a front: one that stands, and one whose time is over."""
    gone = another(engine)
    ops = [standing_op(now_us() + lasts * 10**6, account) for lasts in (3600, -60)]
    await holds(gone, account, *ops)
    return gone, ops


async def is_taken_over(gone: Journalled) -> None:
    path = gone.path
    assert path is not None
    gone.abandon()
    await until(lambda: not path.exists())


async def test_what_a_front_has_released_elsewhere_is_not_held_again(engine: Engine, valkey: Valkey) -> None:
    """The store remembers a release for minutes, and the journal of who made the hold never hears of it."""
    office = Desk(engine.office.do)
    await office.customer("released", "10")
    gone, ops = await two_of_a_front(engine, "released")
    assert await answered(engine.foundation.store.release(ops, now_us())) == [DONE, DONE]
    ended = f"{{mg:{gone._journals.folder.name}:0}}ended"
    assert valkey_says(valkey, "DEL", ended) == b":1"
    await is_taken_over(gone)
    told = await office.ask("credits.show", account="released")
    assert (told["balance"]["amount"], told["held"]["amount"]) == ("10.00", "0.00")
    assert (await office.ask("usage.list", account="released"))["data"] == []


async def test_what_a_front_holds_is_held_again_where_the_store_has_lost_it(
    engine: Engine, valkey: Valkey
) -> None:
    """What stands goes on standing, and what is over ends as a call whose end nobody saw."""
    office, store = Desk(engine.office.do), engine.foundation.shared
    assert store is not None
    await office.customer("kept", "10")
    gone, _ = await two_of_a_front(engine, "kept")
    before = store.epoch
    assert valkey_says(valkey, "FLUSHALL") == b"+OK"
    await until(lambda: store.epoch not in ("", before))
    await is_taken_over(gone)
    await office.has_used("kept", 3)
    told = await office.ask("credits.show", account="kept")
    assert (told["balance"]["amount"], told["held"]["amount"]) == ("4.00", "3.00")
