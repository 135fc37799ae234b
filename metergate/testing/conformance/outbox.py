"""The outbox: no charge without its event, no event without its charge, and none of them lost."""

from metergate.ports import DONE, FULL, GRANTED
from metergate.testing.conformance.bench import Bench, MakeStore, OnBench, a_bench, answered, money


async def settled(bench: Bench, *ops: str) -> None:
    for op in ops:
        assert (await bench.hold(money(1), op=op)).status == GRANTED
        assert await bench.settle(op, 1, event=op.encode()) == DONE


class OutboxTests(OnBench):
    async def test_events_come_oldest_first_and_as_many_as_were_asked_for(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await settled(bench, "a", "b", "c")
        assert await bench.events(2) == [b"a", b"b"]
        assert await bench.events(9) == [b"a", b"b", b"c"]

    async def test_an_event_stays_until_somebody_acknowledges_it(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await settled(bench, "a", "b", "c")
        first = await answered(bench.store.drain(2))
        assert [entry.event for entry in await answered(bench.store.drain(2))] == [b"a", b"b"]
        assert list(await answered(bench.store.acknowledge([first[1].id]))) == [DONE]
        assert await bench.events() == [b"a", b"c"]
        await answered(bench.store.acknowledge([first[0].id, first[1].id]))
        assert await bench.events() == [b"c"]
        await settled(bench, "d")
        assert await bench.events() == [b"c", b"d"]

    async def test_acknowledging_again_changes_nothing(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await settled(bench, "a")
        entries = await answered(bench.store.drain(1))
        await answered(bench.store.acknowledge([entries[0].id]))
        await settled(bench, "b")
        async with bench.nothing_changes():
            await answered(bench.store.acknowledge([entries[0].id]))
            assert list(await answered(bench.store.acknowledge([]))) == []

    async def test_events_are_bytes_that_come_back_as_they_went_in(self, bench: Bench) -> None:
        await bench.account(balance=100)
        events = [b"\x00\xff\r\n", b"x" * 100_000, bytes(range(256)), b" "]
        for n, event in enumerate(events):
            await bench.hold(money(1), op=str(n))
            await bench.settle(str(n), 1, event=event)
        assert await bench.events() == events

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

    async def test_the_store_says_how_it_is(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await settled(bench, "a", "b")
        await bench.hold(money(1))
        health = bench.store.health()
        assert health.ok
        assert (health.backlog, health.open_holds) == (2, 1)
