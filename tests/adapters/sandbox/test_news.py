"""How the sandbox tells what happened: until it is heard, and as badly as somebody wants."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from metergate.provider_port import Money, Order, Payer
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate_sandbox import Server
from metergate_sandbox.news import proven
from tests.adapters.faking import Asked, FakeServer, Told
from tests.waiting import until

SECRET = "whsec_1"


class Ear:
    """A merchant's address: what came, and how the next ones are answered."""

    def __init__(self, clock: FakeClock) -> None:
        self.heard: list[str] = []
        self.answers: list[int] = []
        self.server = FakeServer(self._hear, lambda _: False)
        self._clock = clock

    def _hear(self, asked: Asked) -> Told:
        event = proven(asked.headers, asked.body, [SECRET], self._clock())
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.heard.append(event.id)
        return Told(status)


@asynccontextmanager
async def a_sandbox() -> AsyncIterator[tuple[Server, Ear]]:
    clock = FakeClock()
    sandbox, ear = Server("sk_test_1", SECRET, clock, ask), Ear(clock)
    await sandbox.start()
    await ear.server.start()
    try:
        yield sandbox, ear
    finally:
        await sandbox.close()
        await ear.server.close()


def happens(sandbox: Server, ear: Ear, times: int = 6) -> list[str]:
    """So many things that are news; their ids in order."""
    for number in range(times):
        order = Order(f"p{number}", Payer("acct"), Money(100, "USD"))
        sandbox.sandbox.order(order, ear.server.url)
    return [str(json.loads(body)["id"]) for body in sandbox.news.sent[-times:]]


async def test_news_is_sent_again_until_it_is_heard() -> None:
    async with a_sandbox() as (sandbox, ear):
        ear.answers = [500, 429]
        told = happens(sandbox, ear, 1)
        await until(lambda: ear.heard == told)
        assert ear.answers == []


async def test_duplicate_news_comes_twice() -> None:
    async with a_sandbox() as (sandbox, ear):
        sandbox.fault({"kind": "duplicate"})
        told = happens(sandbox, ear)
        await until(lambda: sorted(ear.heard) == sorted(told * 2))


@pytest.mark.parametrize("kind", ["late", "shuffled"])
async def test_news_that_is_held_back_comes_when_it_is_released(kind: str) -> None:
    async with a_sandbox() as (sandbox, ear):
        sandbox.fault({"kind": kind})
        told = happens(sandbox, ear)
        assert (sandbox.news._running, ear.heard) == (set(), [])
        held = [json.loads(body)["id"] for _, body in sandbox.news._held]
        sandbox.news.release()
        await until(lambda: sorted(ear.heard) == sorted(told))
        assert held == told
