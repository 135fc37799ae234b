"""A ledger, an office, a courier and a receiver over HTTP."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from metergate.notices import Courier
from tests.billing.bench import Bench, opened
from tests.notices.receiver import Receiver

PEPPERS = {1: b"pepper"}


class Post:
    """Everything between what happens and who is told."""

    def __init__(self, bench: Bench, receiver: Receiver) -> None:
        self.bench = bench
        self.office = bench.office
        self.clock = bench.clock
        self.receiver = receiver
        self.private: tuple[str, ...] = ()
        self.endpoint: dict[str, Any] = {}
        self.courier = self.another()

    def another(self, trusted: ssl.SSLContext | None = None) -> Courier:
        """The courier of one more worker."""
        return Courier(lambda: self.bench.ledger, lambda: PEPPERS, lambda: self.private, self.clock, trusted)

    async def listen(self, types: Sequence[str] = ("*",)) -> dict[str, Any]:
        self.endpoint = await self.office.endpoints.create(self.receiver.url, list(types))
        self.receiver.secrets.append(self.endpoint["secret"])
        return self.endpoint

    async def grant(self, *ids: str) -> None:
        for id in ids:
            await self.office.credits.grant("acct", "1.00", id=id)

    async def deliver(self) -> None:
        """As long as something is due."""
        while await self.courier.run_once():
            pass

    def numbers(self) -> Mapping[str, list[list[Any]]]:
        return self.courier.numbers()

    async def state(self) -> str:
        return str((await self.office.endpoints.show(self.endpoint["id"]))["state"])

    async def deliveries(self, **which: str) -> list[dict[str, Any]]:
        return list((await self.office.endpoints.deliveries(**which))["data"])


@asynccontextmanager
async def a_post(url: str) -> AsyncIterator[Post]:
    async with opened(url) as bench:
        receiver = Receiver(bench.clock)
        await receiver.start()
        post = Post(bench, receiver)
        try:
            yield post
        finally:
            await post.courier.stop()
            await receiver.stop()


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    async with a_post(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
async def any_post(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Post]:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    async with a_post(url) as made:
        yield made
