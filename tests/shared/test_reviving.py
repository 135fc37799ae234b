"""Ends of calls that the store has lost, in a process that serves."""

from collections.abc import AsyncIterator

import pytest

from metergate.core.budget import BALANCE, COST, Draw
from metergate.core.hold import Outcome, Terms, UsageEvent
from metergate.engine import Engine
from metergate.errors import StoreUnavailable
from metergate.foundation import now_us
from metergate.ports import AskBudget, Settle, answered
from metergate.wire import encode_event
from metergate.worker.entrance import Entrance
from tests.shared.app import POLICY
from tests.shared.house import Desk, Place, valkey_says
from tests.valkey import Server as Valkey

USD = 10**9


@pytest.fixture
async def engine(place: Place) -> AsyncIterator[Engine]:
    """A process that serves, and whose worker makes its rounds when the test says so."""
    engine = Engine(POLICY, place.settings())
    await engine.start()
    await engine.foundation.worker.stop()
    yield engine
    await engine.stop()


def an_end(account: str, op: str, at_us: int) -> Settle:
    """A call of 3 USD that was served, as its process remembers it."""
    draws = (Draw(BALANCE, f"credits:{account}", 3 * USD, 0, 0, 0, COST),)
    terms = Terms(account, "", "", "v1", "", "GET /", "ones", "USD", draws)
    outcome = Outcome(3, (), 3 * USD, "measured", (3 * USD,), terms)
    return Settle(op, None, encode_event(UsageEvent(op, op, at_us, "/", outcome)))


async def told(engine: Engine, *ends: Settle) -> None:
    """The store did not know these ends, and the worker makes its next round."""
    worker = engine.foundation.worker
    assert isinstance(worker.entrance, Entrance)
    worker.entrance.strays += ends
    await worker.run_once()
    assert not worker.outage


async def spendable(engine: Engine, account: str) -> int:
    (value,) = await answered(engine.foundation.store.state((AskBudget(f"credits:{account}"),)))
    assert isinstance(value, int)
    return value


async def test_an_end_that_was_lost_with_the_store_is_charged_once(
    engine: Engine, place: Place, valkey: Valkey
) -> None:
    office = Desk(engine.office.do)
    await office.customer("lost", "10")
    before_us = now_us()
    assert valkey_says(valkey, "FLUSHALL") == b"+OK"
    with pytest.raises(StoreUnavailable):
        await spendable(engine, "lost")
    for _ in range(2):
        await told(engine, an_end("lost", "once", before_us))
        await office.has_used("lost", 3)
    assert await office.balance("lost") == "7.00"
    await office.proven()
