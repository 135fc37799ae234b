"""No credit is spent twice over real HTTP, however many ask at once."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import httpx2
import pytest

from tests.servers.serving import ENVIRON, Server, serving
from tests.waiting import DEADLINE_S

TASKS = 72
Revoke = Callable[[Server, str], Awaitable[None]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("uvicorn", "tests.servers.raw_app:app", tmp_path_factory.mktemp("exact")) as found:
        yield found


async def reached(server: Server, path: str) -> int:
    """How many calls the app itself has counted."""
    async with server.client() as client:
        return int((await client.get("/public/seen")).json().get(path, 0))


async def call_until_refused(client: httpx2.AsyncClient, path: str) -> Counter[int]:
    """Every task calls until it is refused once; the answers by their status."""
    statuses: Counter[int] = Counter()
    while True:
        answer = await client.get(path)
        statuses[answer.status_code] += 1
        if answer.status_code == 402:
            return statuses


async def burst(server: Server, path: str, keys: list[str]) -> Counter[int]:
    clients = [server.client(key) for key in keys]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(call_until_refused(clients[number % len(clients)], path))
            for number in range(TASKS)
        ]
    for client in clients:
        await client.aclose()
    return sum((task.result() for task in tasks), Counter())


@pytest.mark.parametrize(
    ("account", "path", "calls", "left"),
    [("one", "/ones/one", 1000, "0.00"), ("seven", "/sevens/seven", 142, "6.00")],
)
async def test_as_many_calls_reach_the_app_as_the_credits_buy(
    server: Server, account: str, path: str, calls: int, left: str
) -> None:
    """72 tasks, 1,000 credits: not one call more, not one less, and the ledger tells the same."""
    key = await server.customer(account, "1000")
    assert await burst(server, path, [key]) == {218: calls, 402: TASKS}
    assert await reached(server, path) == calls
    assert await server.balance(account) == left
    (total,) = (await server.ask("usage.totals", account=account))["data"]
    assert total["units"] == calls
    assert (await server.ask("verify"))["differences"] == []


async def test_two_keys_of_one_account_share_one_balance(server: Server) -> None:
    """Half of the tasks show the one, half the other."""
    first = await server.customer("pair", "1000")
    second = await server.key("pair")
    assert await burst(server, "/sevens/pair", [first, second]) == {218: 142, 402: TASKS}
    assert await reached(server, "/sevens/pair") == 142
    assert await server.balance("pair") == "6.00"
    assert len({row["key"] for row in await server.rows("pair")}) == 2


async def test_checking_first_and_taking_later_would_be_noticed(server: Server) -> None:
    """The same burst on a gate that looks, waits and takes lets too many through."""
    await burst(server, "/naive/seven", [""])
    assert await reached(server, "/naive/seven") > 142


async def test_parallel_twins_run_the_app_once(server: Server) -> None:
    """Twenty at once with one Idempotency-Key: one runs, and later ones get its answer again."""
    key = await server.customer("twins")
    async with server.client(key, **{"idempotency-key": "job-1"}) as client, asyncio.timeout(DEADLINE_S):
        waiting = {asyncio.create_task(client.post("/waiting/twins", content=b"{}")) for _ in range(20)}
        told: list[httpx2.Response] = []
        while len(waiting) > 1:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            told += [task.result() for task in done]
        assert [answer.json()["reason"] for answer in told] == ["idempotency_running"] * 19
        async with server.client(key) as other:
            assert (await other.post("/free/go/twins")).is_success
        (first,) = waiting
        answer = await first
        again = await client.post("/waiting/twins", content=b"{}")
    assert (answer.status_code, answer.content) == (again.status_code, again.content) == (200, b"done")
    assert "idempotency-replayed" not in answer.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await reached(server, "/waiting/twins") == 1
    assert len(await server.rows("twins")) == 1
    assert await server.balance("twins") == "0.99"


async def revoke_by_office(server: Server, kid: str) -> None:
    await server.ask("keys.revoke", kid=kid)


async def revoke_by_command(server: Server, kid: str) -> None:
    typed = [sys.executable, "-m", "metergate", "keys", "revoke", kid]
    environ = ENVIRON | {"METERGATE_DATA": str(server.data)}
    done = await asyncio.to_thread(
        subprocess.run, typed, env=environ, cwd=server.data, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("account", "revoke"), [("one", revoke_by_office), ("two", revoke_by_command)])
async def test_no_call_reaches_the_app_after_the_answer_to_a_revocation(
    server: Server, account: str, revoke: Revoke
) -> None:
    """Asked from another process, under load. The clock of the machine is the same for all processes."""
    account = f"revoked_{account}"
    key = await server.customer(account, "1000")
    loaded, revoked = asyncio.Event(), asyncio.Event()
    before: Counter[int] = Counter()
    after: Counter[int] = Counter()

    async def load(client: httpx2.AsyncClient) -> None:
        while not revoked.is_set():
            before[(await client.get("/clock")).status_code] += 1
            if before[200] >= 50:
                loaded.set()
        for _ in range(5):
            after[(await client.get("/clock")).status_code] += 1

    async with server.client(key) as client, asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(load(client))
        await loaded.wait()
        await revoke(server, key[8:18])
        answered_ns = time.monotonic_ns()
        revoked.set()
    assert after == {401: 40}
    assert before[200] >= 50
    assert await reached(server, "/clock/ns") < answered_ns
    (total,) = (await server.ask("usage.totals", account=account))["data"]
    assert total["units"] == before[200]
