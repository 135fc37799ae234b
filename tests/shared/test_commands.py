"""Commands beside processes that share a store: any of them answers, and all hear what concerns all."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.serving import kill
from tests.shared.app import POLICY
from tests.shared.house import CLEAN, Place, Process, processes
from tests.waiting import DEADLINE_S


@pytest.fixture(scope="module")
def three_of_a_file(place: Place) -> Iterator[list[Process]]:
    """Three processes that read their policy from a file."""
    file = place.folder / "policy.json"
    file.write_text(json.dumps(POLICY))
    with processes(place, 3, METERGATE_POLICY=str(file)) as found:
        yield found


def typed(place: Place, *words: str) -> subprocess.Popen[str]:
    """A command that knows nothing but the data folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "metergate", *words, "--json"],
        cwd=place.folder,
        env=CLEAN | {"METERGATE_DATA": str(place.data), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> list[Any]:
    said, complaints = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, complaints
    return [json.loads(said)] if said.startswith("{\n") else [json.loads(line) for line in said.splitlines()]


def ask(place: Place, words: str) -> Any:
    return told(typed(place, *words.split()))[0]


async def test_a_command_needs_to_know_the_data_folder_and_no_more(
    three_of_a_file: list[Process], place: Place
) -> None:
    ask(place, "accounts create cli")
    ask(place, "credits grant cli 3.00")
    key = ask(place, "keys create --account cli")["key"]
    for server in three_of_a_file:
        async with server.client(key) as client:
            assert (await client.get("/ones/cli")).status_code == 200
            assert (await client.get("/sevens/cli")).status_code == 402
    assert ask(place, "credits show cli")["balance"]["amount"] == "0.00"
    assert ask(place, "usage show cli")["data"][0]["units"] == 3
    assert ask(place, "verify")["ok"]
    ask(place, f"keys revoke {key[8:18]}")
    for server in three_of_a_file:
        async with server.client(key) as client:
            assert (await client.get("/ones/cli")).status_code == 401


async def test_tail_shows_what_all_of_them_decide(three_of_a_file: list[Process], place: Place) -> None:
    ask(place, "accounts create watched")
    key = ask(place, "keys create --account watched")["key"]
    tail = typed(place, "tail", "--count", "12")
    clients = [server.client(key) for server in three_of_a_file]
    while tail.poll() is None:
        for client in clients:
            assert (await client.get("/ones/watched")).status_code == 402
    for client in clients:
        await client.aclose()
    decisions = told(tail)
    assert {decision["reason"] for decision in decisions} == {"insufficient_credits"}
    # The first part of a request's id is its process's.
    assert len({decision["request_id"][:20] for decision in decisions}) == 3


async def test_a_policy_is_read_anew_by_all_of_them(three_of_a_file: list[Process], place: Place) -> None:
    ask(place, "accounts create reader")
    ask(place, "credits grant reader 100.00")
    key = ask(place, "keys create --account reader")["key"]
    file = place.folder / "policy.json"
    for price in ("1", "2"):
        file.write_text(json.dumps({**POLICY, "prices": {**POLICY["prices"], "ones": {"price": price}}}))
        ask(place, "policy reload")
        for server in three_of_a_file:
            async with server.client(key) as client:
                answer = await client.get("/ones/reader")
                assert (answer.status_code, answer.headers["metergate-cost"]) == (200, f"{price}.00")


async def test_what_a_killed_process_left_misleads_no_command(
    three_of_a_file: list[Process], place: Place
) -> None:
    assert len(list(place.data.glob("gate-*.sock"))) == 3
    kill(three_of_a_file[0].process)
    assert ask(place, "health")["store"]["name"] == "redis"
    assert len(list(place.data.glob("gate-*.sock"))) == 2


def test_the_admin_side_that_cannot_start_says_why(place: Place) -> None:
    """And ends with 1, as every command does."""
    file = place.folder / "alone.json"
    file.write_text(json.dumps(POLICY))
    alone = Place(place.folder, place.store, "sqlite:///ledger")
    process = alone.start("metergate", "admin", str(file), "--port", "0")
    assert process.wait(DEADLINE_S) == 1
    assert "needs a ledger that they can share" in alone.log.read_text()
