"""`metergate serve --workers`: several processes behind one port, and one that watches over them."""

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.ports import free_port
from tests.proxy.house import Log
from tests.servers.serving import ended, kill
from tests.shared.app import POLICY
from tests.shared.house import Place, desk
from tests.upstream.house import serving
from tests.waiting import DEADLINE_S, until

WORKERS = 3


class Crowd:
    def __init__(self, place: Place) -> None:
        self.place = place
        self.port, self.upstream_port = free_port(), free_port()
        self.admin_port = admin_ports(WORKERS)
        routes = [{"match": "GET /public/**", "public": True}, {"match": "* /**", "meter": "requests"}]
        upstream = {"url": f"http://127.0.0.1:{self.upstream_port}"}
        policy = place.folder / "proxy.yaml"
        policy.write_text(yaml.safe_dump({**POLICY, "routes": routes, "upstream": upstream}))
        ports = ["--port", str(self.port), "--admin-port", str(self.admin_port), "--workers", str(WORKERS)]
        self.process = place.start("metergate", "serve", str(policy), *ports)

    def children(self) -> list[int]:
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    async def ready(self) -> bool:
        """Whether every worker is at work."""
        async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
            for number in range(WORKERS):
                try:
                    url = f"http://127.0.0.1:{self.admin_port + number}/readyz"
                    if (await client.get(url)).status_code != 200:
                        return False
                except httpx2.TransportError:
                    assert not ended(self.process, within=0.01), self.place.log.read_text()
                    return False
        return True

    async def calls(self, key: str, count: int) -> Counter[int]:
        """So many calls, each on a connection of its own, so that all workers get some."""
        headers = {"authorization": f"Bearer {key}", "connection": "close"}
        async with httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S) as client:
            url = f"http://127.0.0.1:{self.port}/a"
            asked = [client.get(url) for _ in range(count)]
            return Counter([answer.status_code for answer in await asyncio.gather(*asked)])


def admin_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


@pytest.fixture
def crowd(place: Place) -> Iterator[Crowd]:
    with crowded(place) as made:
        yield made


@contextmanager
def crowded(place: Place) -> Iterator[Crowd]:
    made = Crowd(place)
    try:
        yield made
        if made.process.poll() is None:
            made.process.send_signal(signal.SIGTERM)
            assert made.process.wait(DEADLINE_S) == 0, place.log.read_text()
    finally:
        kill(made.process)


async def test_workers_share_the_port_and_the_credits(crowd: Crowd, place: Place) -> None:
    """Exactly what was paid for is served, whoever of them is asked."""
    await until(crowd.ready)
    assert len(crowd.children()) == WORKERS
    log = Log()
    async with desk(place) as office, serving(log, port=crowd.upstream_port):
        key = await office.customer("crowd", "0.50")
        statuses = await crowd.calls(key, 80)
        assert statuses == {200: 50, 402: 30}
        assert len(log.heads) == 50
        rich = await office.customer("rich")

        async def several_are_at_work() -> bool:
            """On a busy machine one of them may be quick enough to answer many."""
            await crowd.calls(rich, 20)
            return len({head.partition(b"metergate-request-id: ")[2][:20] for head in log.heads}) > 1

        await until(several_are_at_work)


async def test_a_worker_that_dies_is_replaced(crowd: Crowd, place: Place) -> None:
    await until(crowd.ready)
    before = set(crowd.children())
    await asyncio.sleep(5)  # what dies sooner after its start is taken for a mistake
    os.kill(min(before), signal.SIGKILL)

    async def whole() -> bool:
        now = set(crowd.children())
        return len(now) == WORKERS and min(before) not in now

    await until(whole)
    await until(crowd.ready)
    async with desk(place) as office, serving(Log(), port=crowd.upstream_port):
        key = await office.customer("after")
        assert await crowd.calls(key, 20) == {200: 20}


async def test_what_dies_at_once_ends_all(place: Place) -> None:
    """A mistake that would be made again is not made for ever."""
    (place.folder / "lost.yaml").write_text('metergate: 1\nupstream: {url: "http://127.0.0.1:1"}\n')
    ports = ["--port", str(free_port()), "--admin-port", str(admin_ports(2)), "--workers", "2"]
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    process = place.start("metergate", "serve", "lost.yaml", *ports, METERGATE_LEDGER=nowhere)
    try:
        assert await asyncio.to_thread(process.wait, 30) == 1
    finally:
        kill(process)
