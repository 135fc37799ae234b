"""Two processes hear of a payment at once, again and again: it is credited once, in one PostgreSQL."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from metergate.bootstrap import open_office
from metergate.provider_port import DisputeFacts, Money
from metergate.provider_port.http import ask
from metergate_sandbox import Server
from tests.billing.bench import KEY, SECRET
from tests.shared.app import POLICY
from tests.shared.house import Desk, Place, Process, processes
from tests.waiting import until

PAID = {**POLICY, "currency": "USD", "provider": "sandbox"}
DELIVERIES = 50


class Paying:
    """Two processes, an operator beside them, and the sandbox that all of them ask."""

    def __init__(self, two: list[Process], desk: Desk, server: Server) -> None:
        self.two = two
        self.desk = desk
        self.server = server

    async def paid(self, id: str, amount: str) -> str:
        """An account that has paid, and nobody was told; its payment at the sandbox."""
        await self.desk.customer(f"of-{id}", credits="")
        made = await self.desk.ask("payments.create", account=f"of-{id}", amount=amount, id=id)
        await ask("POST", made["url"], body=b"card=4242424242424242")
        return f"pay_{id}"

    async def deliver(self, bodies: list[bytes]) -> Counter[int]:
        """All of them at once, to both processes in turn."""

        async def one(number: int, body: bytes) -> int:
            url = f"{self.two[number % 2].url}/billing/v1/webhooks/sandbox"
            return (await ask("POST", url, headers=self.server.news.headers(body), body=body)).status

        return Counter(await asyncio.gather(*(one(number, body) for number, body in enumerate(bodies))))

    async def handled(self) -> None:
        async def nothing_waits() -> bool:
            return not (await self.desk.ask("webhooks.list", state="waiting"))["data"]

        await until(nothing_waits, "what was told was not handled")

    async def balance(self, id: str) -> str:
        return await self.desk.balance(f"of-{id}")


@pytest.fixture
def environ(place: Place) -> dict[str, str]:
    (place.folder / "paid.json").write_text(json.dumps(PAID))
    return {"SANDBOX_SECRET_KEY": KEY, "SANDBOX_WEBHOOK_SECRET": SECRET}


@asynccontextmanager
async def paying(place: Place, environ: dict[str, str]) -> AsyncIterator[Paying]:
    server = Server(KEY, SECRET, lambda: time.time_ns() // 1000, ask)
    await server.start()
    environ = {**environ, "SANDBOX_API_BASE": server.url}
    policy = str(place.folder / "paid.json")
    try:
        with processes(place, 2, METERGATE_POLICY=policy, **environ) as two:
            more: dict[str, Any] = {"worker": False, "environ": environ, "public_url": two[0].url}
            async with open_office(PAID, place.settings(**more)) as office:
                yield Paying(two, Desk(office.do), server)
    finally:
        await server.close()


async def test_fifty_deliveries_at_once_to_two_processes_grant_once(
    place: Place, environ: dict[str, str]
) -> None:
    async with paying(place, environ) as both:
        await both.paid("fifty", "19.99")
        bodies = both.server.news.sent[-1:]
        told, *_ = await asyncio.gather(
            both.deliver(bodies * DELIVERIES),
            *(both.desk.ask("payments.verify", id="fifty") for _ in range(3)),
        )
        assert told == {200: DELIVERIES}
        await both.handled()
        assert await both.balance("fifty") == "19.99"
        events = (await both.desk.ask("webhooks.list"))["data"]
        # The sandbox has told the first process itself, too.
        assert {each["deliveries"] for each in events if each["type"] == "payment.succeeded"} == {
            DELIVERIES + 1
        }
        await both.desk.proven()


async def test_shuffled_and_doubled_news_of_a_whole_life_comes_to_the_same_in_two_processes(
    place: Place, environ: dict[str, str]
) -> None:
    """The sandbox sends it over HTTP by itself, as badly as it can, and we tell both processes again."""
    async with paying(place, environ) as both:
        sandbox, news = both.server.sandbox, both.server.news
        news.fault = "shuffled"
        there = await both.paid("life", "10.00")
        sandbox.refund(there, Money(250, "USD"), "by-hand")
        for state in ("open", "lost", "won"):
            sandbox.dispute(there, DisputeFacts("dp_1", Money(1000, "USD"), state))
        before = len(news.sent)
        news.release()
        news.fault = "duplicate"
        sandbox.refund(there, Money(150, "USD"), "by-hand-again")
        assert before < len(news.sent)
        await both.deliver(news.sent[::-1] * 2)
        await until(lambda: not news._running, "the sandbox could not deliver")
        await both.handled()
        assert await both.balance("life") == "6.00"
        await both.desk.proven()
