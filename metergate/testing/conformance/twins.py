"""Calls with an idempotency key: charged once, however often they are sent."""

import pytest

from metergate.core.idempotency import Twin
from metergate.ports import (
    DENIED,
    DONE,
    GRANTED,
    TWIN_DONE,
    TWIN_OTHER,
    TWIN_RUNNING,
    Held,
    PutTwin,
)
from metergate.testing.clock import START_US
from metergate.testing.conformance.bench import HOUR_US, Bench, OnBench, money

TWIN = Twin("t1", "same", START_US + 24 * HOUR_US)
OTHER = Twin("t1", "other", START_US + 24 * HOUR_US)
STRANGER = Twin("t2", "same", START_US + 24 * HOUR_US)


class TwinTests(OnBench):
    async def test_while_the_first_call_runs_its_twin_is_told_to_wait(self, bench: Bench) -> None:
        await bench.account(balance=100)
        assert (await bench.hold(money(1), twin=TWIN)).status == GRANTED
        async with bench.nothing_changes():
            assert await bench.hold(money(1), twin=TWIN) == Held(TWIN_RUNNING)
            assert await bench.hold(money(1), twin=OTHER) == Held(TWIN_OTHER)
        assert (await bench.hold(money(1), twin=STRANGER)).status == GRANTED
        assert (await bench.hold(money(1))).status == GRANTED

    async def test_of_two_twins_in_one_batch_the_first_goes_on(self, bench: Bench) -> None:
        await bench.account(balance=100)
        holds = [await bench.a_hold(money(1), twin=TWIN) for _ in range(2)]
        assert [held.status for held in await bench.send(*holds)] == [GRANTED, TWIN_RUNNING]

    @pytest.mark.parametrize(
        "answer",
        [b"", b"\x00 what was answered", b"x" * 65536, None],
        ids=["empty", "some", "largest", "not kept"],
    )
    async def test_once_it_is_done_its_answer_is_given_again(
        self, bench: Bench, answer: bytes | None
    ) -> None:
        await bench.account(balance=100)
        await bench.hold(money(1), op="first", twin=TWIN)
        await bench.settle("first", 1, answer=answer)
        async with bench.nothing_changes():
            assert await bench.hold(money(1), twin=TWIN) == Held(TWIN_DONE, answer=answer)
            assert await bench.hold(money(1), twin=OTHER) == Held(TWIN_OTHER)

    async def test_the_retry_of_the_first_call_is_no_twin_of_itself(self, bench: Bench) -> None:
        await bench.account(balance=100)
        hold = await bench.a_hold(money(1), twin=TWIN)
        first = await bench.send(hold)
        assert await bench.send(hold) == first
        assert await bench.budget() == 99

    async def test_after_a_release_the_next_call_is_the_first_again(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(1), op="first", twin=TWIN)
        await bench.release("first")
        assert (await bench.hold(money(1), op="second", twin=OTHER)).status == GRANTED
        await bench.release("first")
        assert await bench.hold(money(1), twin=OTHER) == Held(TWIN_RUNNING)

    async def test_a_call_that_was_refused_leaves_no_twin(self, bench: Bench) -> None:
        await bench.account(balance=1)
        assert (await bench.hold(money(2), twin=TWIN)).status == DENIED
        assert (await bench.hold(money(1), twin=OTHER)).status == GRANTED

    async def test_of_twins_in_one_batch_the_first_is_held(self, bench: Bench) -> None:
        await bench.account(balance=100)
        batch = [await bench.a_hold(money(1), twin=twin) for twin in (TWIN, TWIN, OTHER, STRANGER)]
        statuses = [held.status for held in await bench.send(*batch)]
        assert statuses == [GRANTED, TWIN_RUNNING, TWIN_OTHER, GRANTED]
        assert await bench.budget() == 98

    async def test_a_twin_is_remembered_until_its_time_is_over(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(1), op="first", twin=TWIN)
        await bench.settle("first", 1, answer=b"kept")
        bench.clock.now_us = TWIN.until_us - 1
        await bench.expire()
        assert await bench.hold(money(1), twin=TWIN) == Held(TWIN_DONE, answer=b"kept")
        bench.clock.now_us = TWIN.until_us
        later = Twin("t1", "other", TWIN.until_us + 24 * HOUR_US)
        assert (await bench.hold(money(1), op="again", twin=later)).status == GRANTED
        await bench.expire()
        await bench.settle("again", 1, answer=b"new")
        await bench.expire()
        assert await bench.hold(money(1), twin=later) == Held(TWIN_DONE, answer=b"new")

    async def test_the_twin_of_a_call_that_lapsed_is_the_first(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(1), op="first", twin=TWIN)
        await bench.lapse("first")
        assert (await bench.hold(money(1), twin=TWIN)).status == GRANTED

    async def test_a_call_that_runs_is_remembered_however_long_it_runs(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(1), twin=TWIN, lasts_us=100 * HOUR_US)
        bench.clock.now_us = TWIN.until_us + 1
        await bench.expire()
        assert await bench.hold(money(1), twin=TWIN) == Held(TWIN_RUNNING)

    async def test_a_finished_call_is_put_only_where_the_store_knows_none(self, bench: Bench) -> None:
        await bench.account(balance=100)
        assert (
            await bench.know(PutTwin(TWIN, b"kept"), PutTwin(TWIN, b"late"), PutTwin(OTHER, None))
            == [DONE] * 3
        )
        assert await bench.hold(money(1), twin=TWIN) == Held(TWIN_DONE, answer=b"kept")
        await bench.hold(money(1), op="running", twin=STRANGER)
        await bench.know(PutTwin(STRANGER, b"late"))
        assert await bench.hold(money(1), twin=STRANGER) == Held(TWIN_RUNNING)
