"""The outbox: no charge without its event, no event without its charge, and none of them lost."""

from metergate.core.idempotency import Twin
from metergate.ports import DONE, FULL, GRANTED, TWIN_DONE, TWIN_RUNNING, Held, Settle, answered
from metergate.testing.conformance.bench import HOUR_US, Bench, MakeStore, OnBench, a_bench, an_event, money
from metergate.wire import decode_event, decode_events


async def settled(bench: Bench, *ops: str) -> None:
    """Each call by a batch of its own."""
    for op in ops:
        assert (await bench.hold(money(1), op=op)).status == GRANTED
        assert await bench.settle(op, 1) == DONE


async def settled_together(bench: Bench, *ops: str) -> None:
    assert {
        held.status for held in await bench.send(*[await bench.a_hold(money(1), op=op) for op in ops])
    } == {GRANTED}
    batch = [Settle(op, (1,), an_event(op)) for op in ops]
    assert list(await answered(bench.store.settle(batch, bench.clock()))) == [DONE] * len(ops)


class OutboxTests(OnBench):
    async def test_events_come_oldest_first_and_as_many_entries_as_were_asked_for(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await settled(bench, "a", "b", "c")
        assert await bench.events(2) == ["a", "b"]
        assert await bench.events(9) == ["a", "b", "c"]

    async def test_what_was_settled_together_comes_in_its_order(self, bench: Bench) -> None:
        await bench.account(balance=1000)
        ops = [str(n) for n in range(300)]
        await settled_together(bench, *ops)
        await settled(bench, "last")
        assert await bench.events() == [*ops, "last"]

    async def test_an_entry_stays_until_somebody_acknowledges_it(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await settled(bench, "a", "b", "c")
        first = await answered(bench.store.drain(2))
        assert await bench.events(2) == ["a", "b"]
        assert list(await answered(bench.store.acknowledge([first[1].id]))) == [DONE]
        assert await bench.events() == ["a", "c"]
        await answered(bench.store.acknowledge([first[0].id, first[1].id]))
        assert await bench.events() == ["c"]
        await settled(bench, "d")
        assert await bench.events() == ["c", "d"]

    async def test_acknowledging_again_changes_nothing(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await settled(bench, "a")
        entries = await answered(bench.store.drain(1))
        await answered(bench.store.acknowledge([entries[0].id]))
        await settled(bench, "b")
        async with bench.nothing_changes():
            await answered(bench.store.acknowledge([entries[0].id]))
            assert list(await answered(bench.store.acknowledge([]))) == []

    async def test_events_come_back_as_they_went_in(self, bench: Bench) -> None:
        await bench.account(balance=100)
        paths = ["/\x00\r\n", "/" + "x" * 100_000, "/größe/🙂", ""]
        for n, path in enumerate(paths):
            await bench.hold(money(1), op=str(n))
            await bench.settle(str(n), 1, path=path)
        entries = await answered(bench.store.drain(10))
        events = [event for entry in entries for event in decode_events(entry.events)]
        assert events == [decode_event(an_event(str(n), path)) for n, path in enumerate(paths)]

    async def test_an_empty_outbox_drains_nothing(self, bench: Bench) -> None:
        assert await bench.events() == []

    async def test_with_too_much_waiting_nothing_is_held_and_everything_is_settled(
        self, make_store: MakeStore
    ) -> None:
        bench = await a_bench(make_store, 2)
        await bench.account(balance=100)
        for op in "abc":
            await bench.hold(money(1), op=op)
        await bench.settle("a", 1)
        await bench.settle("b", 1)
        async with bench.nothing_changes():
            assert (await bench.hold(money(1))).status == FULL
        assert await bench.settle("c", 1) == DONE
        assert (await bench.hold(money(1))).status == FULL
        await bench.acknowledge(2)
        assert (await bench.hold(money(1))).status == GRANTED

    async def test_what_waits_is_counted_by_events(self, make_store: MakeStore) -> None:
        bench = await a_bench(make_store, 3)
        await bench.account(balance=100)
        await settled_together(bench, "a", "b", "c")
        assert bench.store.health().backlog == 3
        assert (await bench.hold(money(1))).status == FULL
        entries = await answered(bench.store.drain(3))
        await answered(bench.store.acknowledge([entry.id for entry in entries]))
        assert bench.store.health().backlog == 0
        assert (await bench.hold(money(1))).status == GRANTED

    async def test_a_twin_needs_no_room(self, make_store: MakeStore) -> None:
        """What was done is said also while too much waits: nothing new comes of it."""
        bench = await a_bench(make_store, 1)
        await bench.account(balance=100)
        twin = Twin("t1", "same", bench.clock() + HOUR_US)
        await bench.hold(money(1), op="first", twin=twin)
        await bench.hold(money(1), op="a")
        await bench.settle("a", 1)
        assert (await bench.hold(money(1), twin=twin)).status == TWIN_RUNNING
        await bench.settle("first", 1, answer=b"kept")
        assert await bench.hold(money(1), twin=twin) == Held(TWIN_DONE, answer=b"kept")

    async def test_the_store_says_how_it_is(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await settled(bench, "a", "b")
        await bench.hold(money(1))
        health = bench.store.health()
        assert health.ok
        assert (health.backlog, health.open_holds) == (2, 1)
