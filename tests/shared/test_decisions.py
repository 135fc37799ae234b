"""Fronts that ask any of several processes: whoever is asked ends a hold, whoever made it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.ports import free_port
from tests.servers.serving import kill
from tests.shared.app import POLICY
from tests.shared.house import Place, desk, valkey_says
from tests.valkey import Server as Valkey
from tests.waiting import DEADLINE_S, until

TOKEN = "of the fronts"


class Deciding:
    """A process that decides and forwards nothing."""

    def __init__(self, place: Place, **environ: str) -> None:
        self.port = free_port()
        policy = place.folder / "decided.yaml"
        policy.write_text(yaml.safe_dump(POLICY))
        ports = ["--port", "0", "--admin-port", str(self.port)]
        words = ("metergate", "serve", str(policy), "--decide-only", *ports)
        self.process = place.start(*words, METERGATE_AUTHZ_TOKEN=TOKEN, **environ)
        self._client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", headers={"metergate-token": TOKEN}, timeout=DEADLINE_S
        )

    async def ready(self) -> bool:
        try:
            return (await self._client.get("/readyz")).status_code == 200
        except httpx2.TransportError:
            assert self.process.poll() is None
            return False

    async def ask(self, verb: str, **body: object) -> tuple[int, Any]:
        answer = await self._client.post(f"/authz/v1/{verb}", json=body)
        return answer.status_code, answer.json()

    async def hold(self, key: str, path: str = "/rows/a") -> str:
        status, told = await self.ask("hold", key=key, method="GET", path=path)
        assert status == 200, told
        return str(told["hold"])

    async def close(self) -> None:
        await self._client.aclose()
        kill(self.process)


@asynccontextmanager
async def two(place: Place, **environ: str) -> AsyncIterator[tuple[Deciding, Deciding]]:
    made = Deciding(place, **environ), Deciding(place, **environ)
    try:
        for each in made:
            await until(each.ready)
        yield made
    finally:
        for each in made:
            await each.close()


async def test_any_process_ends_a_hold(place: Place) -> None:
    """Also one that was made by a process that is dead by now."""
    async with desk(place) as office, two(place) as (one, other):
        key = await office.customer("deciding", "100")
        settled, released, left = [await one.hold(key) for _ in range(3)]
        os.kill(one.process.pid, signal.SIGKILL)
        said = await other.ask("settle", hold=settled, units=2)
        assert (said[0], said[1]["cost"]["amount"]) == (200, "2.00")
        assert await other.ask("settle", hold=settled, units=2) == said
        assert (await other.ask("settle", hold=settled, units=3))[0] == 409
        assert (await other.ask("release", hold=released))[0] == 200
        assert (await other.ask("settle", hold=released, units=3))[0] == 409
        told = await office.ask("credits.show", account="deciding")
        assert (told["balance"]["amount"], told["held"]["amount"]) == ("93.00", "5.00")
        assert (await other.ask("settle", hold=left, units=1))[0] == 200
        assert await office.balance("deciding") == "97.00"
        await office.proven()


async def test_a_hold_stands_whoever_dies_over_it(place: Place, tmp_path: Path) -> None:
    """Who takes over from the dead speaks for their holds, also when it dies in turn."""
    apart = partial(two, place, METERGATE_JOURNAL=str(tmp_path))

    def journals() -> set[Path]:
        return set(tmp_path.glob("*/*/lock"))

    async def is_taken_over(dead: Deciding) -> None:
        its_own = journals()
        assert its_own
        os.kill(dead.process.pid, signal.SIGKILL)
        await until(lambda: not its_own & journals())

    async with apart() as (one, other):
        async with desk(place) as office:
            key = await office.customer("standing", "100")
        hold = await one.hold(key)
        await is_taken_over(one)
        async with apart() as (heir, _), desk(place) as office:
            await is_taken_over(other)
            assert (await office.ask("credits.show", account="standing"))["held"]["amount"] == "5.00"
            assert (await heir.ask("settle", hold=hold, units=2))[0] == 200
            assert await office.balance("standing") == "98.00"
            await office.proven()


async def test_together_they_admit_what_was_paid_for(place: Place) -> None:
    async with desk(place) as office, two(place) as deciding:
        key = await office.customer("exact", "60")

        async def ask(each: Deciding, number: int) -> int:
            path = "/ones/a" if number % 2 else "/rows/a"
            status, told = await each.ask("hold", key=key, method="GET", path=path)
            if status == 200:
                assert (await each.ask("settle", hold=told["hold"], units=1))[0] == 200
            return status

        while True:
            asked = [ask(each, number) for each in deciding for number in range(10)]
            if 402 in await asyncio.gather(*asked):
                break
        # Rows hold more than they come to, so the last credits go to those that hold one.
        while (await ask(deciding[0], 1)) == 200:
            pass
        await office.has_used("exact", 60)
        assert await office.balance("exact") == "0.00"
        await office.proven()


async def test_a_hold_that_the_store_lost_is_charged_when_it_is_settled(place: Place, valkey: Valkey) -> None:
    """What was used is paid for, once, whatever became of the counters."""
    async with desk(place) as office, two(place) as (one, other):
        key = await office.customer("lost", "100")
        hold = await one.hold(key)
        assert valkey_says(valkey, "FLUSHALL") == b"+OK"

        for each in (other, one):  # as soon as it has seen that the store is filled again

            async def settled(asked: Deciding = each) -> bool:
                return (await asked.ask("settle", hold=hold, units=4))[0] == 200

            await until(settled)
        assert (await one.ask("settle", hold=hold, units=5))[0] == 409
        assert await office.balance("lost") == "96.00"
        await office.proven()


async def test_of_twenty_ends_at_once_one_counts(place: Place, valkey: Valkey) -> None:
    """Whoever hears them, and whether the store still knows of the hold or has lost it."""
    async with desk(place) as office, two(place) as deciding:
        key = await office.customer("busy", "100")
        spent = 0
        for lost in (False, True):
            hold = await deciding[0].hold(key)
            if lost:
                assert valkey_says(valkey, "FLUSHALL") == b"+OK"
                for each in deciding:
                    await until(partial(_decides, each, key))
            asked = [(each, units) for each in deciding for units in (1, 2, 3, 4, 5) for _ in range(2)]
            ends = [each.ask("settle", hold=hold, units=units) for each, units in asked]
            answers = await asyncio.gather(*ends)
            taken = {units for (_, units), (status, _) in zip(asked, answers, strict=True) if status == 200}
            assert {status for status, _ in answers} == {200, 409}
            assert len(taken) == 1
            spent += taken.pop()
            assert await office.balance("busy") == f"{100 - spent}.00"
        await office.proven()


async def _decides(each: Deciding, key: str) -> bool:
    """Whether it has seen that the store is filled again."""
    status, told = await each.ask("hold", key=key, method="GET", path="/rows/a")
    if status == 200:
        assert (await each.ask("release", hold=told["hold"]))[0] == 200
    return status == 200
