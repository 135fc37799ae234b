"""No credit is spent twice, whichever of the processes is asked."""

import asyncio
from collections import Counter

import httpx2
import pytest

from tests.shared.house import Place, Process, burst, desk, valkey_says
from tests.valkey import Server as Valkey
from tests.waiting import DEADLINE_S

TASKS = 24


@pytest.mark.parametrize(
    ("path", "calls", "left"), [("/ones/exact", 1000, "0.00"), ("/sevens/exact", 142, "6.00")]
)
async def test_as_many_calls_reach_the_app_as_the_credits_buy(
    three: list[Process], place: Place, path: str, calls: int, left: str
) -> None:
    """Three processes, 24 tasks each, one account: not one call more or less, and so says the ledger."""
    account = path.strip("/").replace("/", "_")
    async with desk(place) as office:
        key = await office.customer(account)
        assert await burst(three, path, [key], TASKS) == {200: calls, 402: 3 * TASKS}
        assert place.reached()[path] == calls
        assert await office.balance(account) == left
        await office.has_used(account, calls)
        await office.proven()


async def test_two_keys_of_one_account_share_one_balance(three: list[Process], place: Place) -> None:
    async with desk(place) as office:
        first = await office.customer("pair")
        second = str((await office.ask("keys.create", account="pair"))["key"])
        assert await burst(three, "/sevens/pair", [first, second], TASKS) == {200: 142, 402: 3 * TASKS}
        assert await office.balance("pair") == "6.00"
        rows = (await office.ask("usage.list", account="pair", limit=1000))["data"]
        assert {row["key"] for row in rows} == {first[8:18], second[8:18]}


async def test_looking_first_and_taking_later_would_be_noticed(
    three: list[Process], place: Place, valkey: Valkey
) -> None:
    """The same burst on a gate that reads the balance from the same server, waits and takes."""
    assert valkey_says(valkey, "SET", ":naive:seven", "1000") == b"+OK"
    await burst(three, "/naive/seven", [""], TASKS)
    assert place.reached()["/naive/seven"] > 142


async def test_no_call_reaches_the_app_after_the_answer_to_a_revocation(
    three: list[Process], place: Place
) -> None:
    """Under load on every process, revoked by another one: whatever is sent after the answer is refused."""
    answered, revoked = Counter[int](), Counter[int]()
    loaded, after = asyncio.Event(), asyncio.Event()

    async def load(client: httpx2.AsyncClient) -> None:
        while not after.is_set():
            answered[(await client.get("/ones/revoked")).status_code] += 1
            if answered[200] >= 100:
                loaded.set()
        for _ in range(5):
            revoked[(await client.get("/ones/revoked")).status_code] += 1

    async with desk(place) as office:
        key = await office.customer("revoked", "100000")
        clients = [server.client(key) for server in three]
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            for client in clients:
                for _ in range(4):
                    group.create_task(load(client))
            await loaded.wait()
            await office.ask("keys.revoke", kid=key[8:18])
            after.set()
        for client in clients:
            await client.aclose()
        assert revoked == {401: 60}
        assert place.reached()["/ones/revoked"] == answered[200]
        await office.has_used("revoked", answered[200])
        await office.proven()


async def test_what_an_operator_does_is_there_for_the_next_call_of_every_process(
    three: list[Process], place: Place
) -> None:
    """Credits, a suspension and its end, told from a process that serves nothing."""
    async with desk(place) as office:
        key = await office.customer("told", "")
        for round in range(1, 4):
            statuses = []
            await office.ask("credits.grant", account="told", amount="3", id=f"told-{round}")
            for server in three:
                async with server.client(key) as client:
                    statuses.append((await client.get("/ones/told")).status_code)
                    statuses.append((await client.get("/sevens/told")).status_code)
            assert statuses == [200, 402] * 3
            await office.ask("accounts.suspend", id="told")
            for server in three:
                async with server.client(key) as client:
                    assert (await client.get("/ones/told")).status_code == 403
            await office.ask("accounts.resume", id="told")
        assert await office.balance("told") == "0.00"
