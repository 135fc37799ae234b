"""Upstreams that take their time, and callers who want more than there is: each hears why."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.proxy.house import POLICY, Gateway, Line, body, gateway, get, header, status
from tests.proxy.test_failing import problem
from tests.upstream.test_times import full_listener
from tests.waiting import until

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UPSTREAMS: dict[str, Any] = {
    "first": {"first_byte": "1s"},
    "idle": {"timeout": "1s", "first_byte": "60s"},
    "total": {"total": "1s"},
    "one": {"connections": 1, "waiting": 0},
    "queue": {"connections": 1, "connect": "1s"},
    "full": {"connect": "1s"},
}
"""By the name of the time that runs out."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    full = full_listener()
    elsewhere = {"url": f"http://127.0.0.1:{full[0].getsockname()[1]}"}
    upstreams = {**UPSTREAMS, "full": UPSTREAMS["full"] | elsewhere}
    routes = [{"match": f"* /{name}/**", "meter": "bytes", "upstream": name} for name in upstreams]
    limited = {"concurrency": [{"calls": 2, "scope": "key"}], "upstreams": upstreams}
    policy = {**POLICY, **limited, "routes": [*routes, *POLICY["routes"]]}
    try:
        with gateway(tmp_path_factory.mktemp("waiting"), policy) as made:
            yield made
    finally:
        for each in full:
            each.close()


async def free(proxy: Gateway, account: str) -> bool:
    return await proxy.balance(account) == "1.00" and await proxy.rows(account) == []


async def test_an_upstream_that_does_not_begin_is_504(proxy: Gateway) -> None:
    key = await proxy.customer("first")

    async def script(line: Line) -> None:
        await line.head()
        await line.closed()  # hung up on

    async with proxy.upstream(script):
        told = problem(await proxy.say(get("/first/a", key)))
    assert (told["status"], told["reason"]) == (504, "upstream_timeout")
    assert await free(proxy, "first")


async def test_one_that_takes_no_connection_is_504_too(proxy: Gateway) -> None:
    key = await proxy.customer("full")
    told = problem(await proxy.say(get("/full/a", key)))
    assert (told["status"], told["reason"]) == (504, "upstream_timeout")
    assert await free(proxy, "full")


@pytest.mark.parametrize("name", ["idle", "total"])
async def test_one_that_begins_and_does_not_end_is_cut_off(proxy: Gateway, name: str) -> None:
    """The silent one as well as the one that never stops; the client cannot take half for the whole."""
    key = await proxy.customer(name)

    async def script(line: Line) -> None:
        await line.head()
        await line.say(STREAM + b"4\r\nhalf\r\n")
        while name == "total":
            await line.say(b"1\r\nx\r\n")
            await asyncio.sleep(0.02)
        await line.closed()

    async with proxy.upstream(script):
        answer = await proxy.say(get(f"/{name}/a", key))
    assert b"half" in body(answer)
    assert not answer.endswith(b"0\r\n\r\n")
    [row] = await proxy.rows(name, at_least=1)
    assert row["measured"] == "cut"
    assert row["units"] == 4 + body(answer).count(b"x")


@pytest.mark.parametrize("name", ["one", "queue"])
async def test_when_all_connections_are_taken_a_call_is_503(proxy: Gateway, name: str) -> None:
    """At once where nobody may wait, else after a while."""
    key, other = await proxy.customer(f"{name}-first"), await proxy.customer(f"{name}-second")
    heard, told = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        heard.set()
        await told.wait()
        await line.say(STREAM + b"2\r\nok\r\n0\r\n\r\n")

    async with proxy.upstream(script) as served, proxy.dial() as client:
        await client.say(get(f"/{name}/a", key))
        await heard.wait()
        answer = await proxy.say(get(f"/{name}/b", other))
        told.set()
        assert status(await client.closed()) == 200
        assert len(served.lines) == 1
    assert (problem(answer)["status"], problem(answer)["reason"]) == (503, "upstream_busy")
    assert header(answer, "retry-after") == "1"
    assert await free(proxy, f"{name}-second")


async def test_a_key_has_so_many_open_calls(proxy: Gateway) -> None:
    """One more hears 429, another key of the account does not; when one ends, there is room again."""
    key = await proxy.customer("eager")
    other = await proxy.key("eager")
    going = asyncio.Semaphore(0)

    async def script(line: Line) -> None:
        await line.head()
        await line.say(STREAM + b"2\r\nok\r\n")
        await going.acquire()
        await line.say(b"0\r\n\r\n")

    async with proxy.upstream(script), proxy.dial() as one, proxy.dial() as two, proxy.dial() as third:
        for client, shown in ((one, key), (two, key), (third, other)):
            await client.say(get("/bytes/a", shown))
            assert status(await client.head()) == 200
        refused = problem(await proxy.say(get("/bytes/a", key)))
        assert (refused["status"], refused["reason"], refused["scope"]) == (429, "too_many_open", "key")
        for _ in range(4):
            going.release()
        for client in (one, two, third):
            await client.closed()
        answers: list[int] = []

        async def again() -> None:
            answers.append(status(await proxy.say(get("/bytes/a", key))))

        await again()
        await until(lambda: answers[-1] == 200)
    rows = await proxy.rows("eager", at_least=4)
    assert [row["units"] for row in rows] == [2] * 4
