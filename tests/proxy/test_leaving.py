"""A client that leaves stops its upstream, or has it read to the end, and is settled either way."""

import asyncio
import random
from collections import Counter
from pathlib import Path

from tests.proxy.house import Gateway, Line, get, status
from tests.waiting import until

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"a\r\n" + b"x" * 10 + b"\r\n"


def streaming(events: int, ended: list[str], pause_s: float = 0.01) -> "type":
    async def script(line: Line) -> None:
        await line.head()
        await line.say(SSE)
        try:
            for _ in range(events):
                await line.say(EVENT)
                await asyncio.sleep(pause_s)
            await line.say(b"0\r\n\r\n")
            ended.append("told")
        except ConnectionError:
            ended.append("stopped")
            raise

    return script  # type: ignore[return-value]


async def test_a_client_that_leaves_stops_the_upstream(proxy: Gateway) -> None:
    """And pays for what it was sent."""
    key = await proxy.customer("hasty")
    ended: list[str] = []
    async with proxy.upstream(streaming(10_000, ended)):
        async with proxy.dial() as client:
            await client.say(get("/bytes/a", key))
            await client.reader.readuntil(EVENT)
        await until(lambda: bool(ended))
    assert ended == ["stopped"]
    [row] = await proxy.rows("hasty", at_least=1)
    assert row["measured"] == "cut"
    assert 10 <= row["units"] < 10_000


async def test_a_drained_answer_is_measured_to_its_end(proxy: Gateway) -> None:
    """Where the policy says so, because its end tells what it cost."""
    key = await proxy.customer("drained")
    ended: list[str] = []
    async with proxy.upstream(streaming(100, ended)):
        async with proxy.dial() as client:
            await client.say(get("/drained/a", key))
            await client.reader.readuntil(EVENT)
        await until(lambda: bool(ended))
    assert ended == ["told"]
    [row] = await proxy.rows("drained", at_least=1)
    assert (row["measured"], row["units"]) == ("measured", 1000)


async def test_a_client_that_leaves_while_it_waits_is_noticed(proxy: Gateway) -> None:
    key = await proxy.customer("impatient")
    heard, left = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        heard.set()
        await line.closed()
        left.set()

    async with proxy.upstream(script):
        async with proxy.dial() as client:
            await client.say(get("/a", key))
            await heard.wait()
        await asyncio.wait_for(left.wait(), 5)
    [row] = await proxy.rows("impatient", at_least=1)
    assert row["measured"] == "cut"


async def test_a_request_that_was_never_whole_costs_nothing(proxy: Gateway) -> None:
    """The upstream cannot have served it."""
    key = await proxy.customer("halfway")
    heard, left = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        heard.set()
        assert await line.closed() == b"the beginning"
        left.set()

    async with proxy.upstream(script):
        async with proxy.dial() as client:
            await client.say(get("/a", key, "content-length: 1000", method="POST") + b"the beginning")
            await heard.wait()
        await asyncio.wait_for(left.wait(), 5)
    assert await proxy.balance("halfway") == "1.00"
    assert await proxy.rows("halfway") == []


def resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def test_two_hundred_streams_cut_at_random_are_all_settled(proxy: Gateway) -> None:
    """Every hold has ended, every stream is one row of what was passed on, and memory is as before."""
    key = await proxy.customer("crowd", "100.00")
    served: Counter[bytes] = Counter()
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)

    async def script(line: Line) -> None:
        served[await line.head()] += 1
        await line.say(SSE)
        for _ in range(300):
            await line.say(EVENT)
            await asyncio.sleep(0.01)
        await line.say(b"0\r\n\r\n")

    async def client(leaves_after: float) -> None:
        async with proxy.dial() as line:
            await line.say(get("/bytes/a", key))
            assert status(await line.head()) == 200
            await asyncio.sleep(leaves_after)
            if chance.random() < 0.5:
                line.reset()

    async def crowd() -> None:
        await asyncio.gather(*[client(chance.random()) for _ in range(200)])

    async with proxy.upstream(script):
        await crowd()
        before = resident_kb(proxy.process.pid)
        for _ in range(2):
            await crowd()
        rows = await proxy.rows("crowd", at_least=600)
        after = resident_kb(proxy.process.pid)
    assert len(rows) == 600 == sum(served.values()), f"seed {seed}"
    assert set(served.values()) == {1}
    assert {row["measured"] for row in rows} == {"cut"}
    assert all(row["units"] % 10 == 0 for row in rows)
    paid = 100 * 10**9 - sum(row["cost"]["nanos"] for row in rows)
    told = await proxy.ask("credits.show", account="crowd")
    assert (told["held"]["nanos"], told["balance"]["nanos"]) == (0, paid), f"seed {seed}"
    assert after - before < 8_000
    assert (await proxy.ask("verify"))["ok"]
