"""A store that is frozen, killed, full or without its scripts: 503 in time, and nothing is charged twice."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import httpx2
import pytest

from tests.shared.house import Load, Place, Process, desk, valkey_says
from tests.valkey import Server as Valkey
from tests.waiting import needs_no_more_than

DEADLINE_S = 1.0
"""How long the store may take, unless its address says otherwise."""
SLACK_S = 3.0
"""What a busy machine may take beside it."""
FAST_S = 0.5


@contextmanager
def frozen(valkey: Valkey) -> Iterator[None]:
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        valkey.process.send_signal(signal.SIGCONT)


@contextmanager
def killed(valkey: Valkey) -> Iterator[None]:
    valkey.kill()
    try:
        yield
    finally:
        valkey.start()


@contextmanager
def full(valkey: Valkey) -> Iterator[None]:
    assert valkey_says(valkey, "CONFIG", "SET", "maxmemory", "1") == b"+OK"
    try:
        yield
    finally:
        assert valkey_says(valkey, "CONFIG", "SET", "maxmemory", "0") == b"+OK"


async def takes(client: httpx2.AsyncClient, path: str) -> tuple[int, float]:
    started = time.monotonic()
    status = (await client.get(path)).status_code
    return status, time.monotonic() - started


async def status_of(client: httpx2.AsyncClient, path: str) -> int:
    return (await client.get(path)).status_code


@pytest.mark.parametrize("outage", [frozen, killed, full], ids=["frozen", "killed", "full"])
async def test_an_outage_costs_nobody_anything_and_ends_by_itself(
    three: list[Process],
    place: Place,
    valkey: Valkey,
    outage: Callable[[Valkey], AbstractContextManager[None]],
) -> None:
    account = outage.__name__
    path = f"/ones/{account}"
    async with desk(place) as office:
        key = await office.customer(account, "1000000")
        async with three[0].client(key) as client:
            assert (await client.get("/free/x")).status_code == 200
            async with Load(three, path, key) as load:
                await load.goes_on()
                with outage(valkey):
                    await load.goes_on(503)
                    status, took = await takes(client, path)
                    assert status == 503 and took < DEADLINE_S + SLACK_S
                    for free in ("/public/x", "/free/x"):
                        await needs_no_more_than(FAST_S, partial(status_of, client, free))
                await load.goes_on(200, 60)
        assert set(load.statuses) == {200, 503}
        assert load.slowest_s[503] < DEADLINE_S + SLACK_S
        assert place.reached()[path] == load.statuses[200]
        await office.has_used(account, load.statuses[200])
        assert await office.balance(account) == f"{1_000_000 - load.statuses[200]}.00"
        await office.proven()


async def test_a_server_that_forgot_its_scripts_is_told_them_again(
    three: list[Process], place: Place, valkey: Valkey
) -> None:
    """Nobody notices."""
    async with desk(place) as office:
        key = await office.customer("scripts", "1000000")
        async with Load(three, "/ones/scripts", key) as load:
            for _ in range(3):
                await load.goes_on()
                assert valkey_says(valkey, "SCRIPT", "FLUSH") == b"+OK"
            await load.goes_on()
        assert set(load.statuses) == {200}
        assert load.statuses[200] == place.reached()["/ones/scripts"]
        await office.has_used("scripts", load.statuses[200])
