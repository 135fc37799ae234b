"""Processes that share a store, on machines whose clocks do not agree."""

from collections.abc import AsyncIterator

import pytest

from metergate.core.budget import BALANCE, COST, Draw
from metergate.core.facts import Caller
from metergate.core.hold import Terms
from metergate.engine import Engine
from metergate.foundation import now_us
from metergate.ports import DONE, GRANTED, AskAccount, Hold, answered
from metergate.wire import encode_terms
from tests.shared.app import POLICY
from tests.shared.house import Desk, Place

MINUTE_US = 60 * 10**6
AHEAD_US = 180 * MINUTE_US


@pytest.fixture
async def ahead(place: Place) -> AsyncIterator[Engine]:
    """A process of a machine whose clock is hours ahead."""
    engine = Engine(POLICY, place.settings(), lambda: now_us() + AHEAD_US)
    await engine.start()
    yield engine
    await engine.stop()


async def held(engine: Engine, account: str, lasts_us: int) -> str:
    """What a process holds whose clock is right."""
    store = engine.foundation.store
    (caller,) = await answered(store.state((AskAccount(account),)))
    assert isinstance(caller, Caller)
    draws = (Draw(BALANCE, f"credits:{account}", 3 * 10**9, 0, 0, 0, COST),)
    terms = encode_terms(Terms(account, "", "", "v1", "", "GET /", "ones", "USD", draws, 3, 3 * 10**9))
    op = f"{account}-{lasts_us}"
    hold = Hold(op, account, caller.generation, draws, now_us() + lasts_us, terms, op, None, True)
    (told,) = await answered(store.hold([hold], now_us()))
    assert told.status == GRANTED, told
    return op


async def test_a_worker_whose_clock_is_ahead_ends_no_call_that_another_process_is_running(
    ahead: Engine,
) -> None:
    office, store = Desk(ahead.office.do), ahead.foundation.store
    await office.customer("runs", "10")
    op = await held(ahead, "runs", 30 * MINUTE_US)
    assert await ahead.foundation.worker.reaper.run_once() == 0
    assert await answered(store.renew([op], now_us() + 60 * MINUTE_US)) == [DONE]
    assert (await office.ask("usage.list", account="runs"))["data"] == []
    assert await answered(store.release([op], now_us())) == [DONE]


async def test_what_is_over_by_the_clock_of_the_store_is_ended_all_the_same(ahead: Engine) -> None:
    office = Desk(ahead.office.do)
    await office.customer("gone", "10")
    await held(ahead, "gone", -MINUTE_US)
    await office.has_used("gone", 3)
