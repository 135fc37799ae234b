"""The owner of a data folder serves the office to others, over a socket that is its own alone."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from metergate.admin import NotFound, OwnerSocket, OwnerUnavailable, RemoteOffice
from metergate.admin.lines import ASKED_MAX
from metergate.errors import InvalidInput
from metergate.ledger import Conflict
from tests.admin.bench import Bench

Listener = Callable[[dict[str, Any]], None]


class Decisions:
    """A subscription as the engine offers it."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.begun = asyncio.Event()
        self.left = asyncio.Event()

    def __call__(self, listener: Listener) -> Callable[[], None]:
        self.listeners.append(listener)
        self.begun.set()

        def leave() -> None:
            self.listeners.remove(listener)
            self.left.set()

        return leave


@pytest.fixture
def decisions() -> Decisions:
    return Decisions()


@pytest.fixture
async def owner(bench: Bench, tmp_path: Path, decisions: Decisions) -> AsyncIterator[OwnerSocket]:
    served = OwnerSocket(tmp_path, bench.office, decisions)
    await served.start()
    yield served
    await served.stop()


async def test_another_process_revokes_a_key(bench: Bench, owner: OwnerSocket, tmp_path: Path) -> None:
    """What a command in another process revokes is refused by the owner's next hold."""
    await bench.do("accounts.create", id="ada")
    await bench.do("credits.grant", account="ada", amount="9")
    key = await bench.do("keys.create", account="ada")
    assert await bench.spend(key["key"]) == ""
    program = (
        "import asyncio, pathlib, sys; from metergate.admin import RemoteOffice;"
        "print(asyncio.run(RemoteOffice(pathlib.Path(sys.argv[1])).do('keys.revoke', {'kid': sys.argv[2]})))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), key["kid"], stdout=subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    assert b"revoked" in told
    assert await bench.spend(key["key"]) == "key_revoked"
    [revoked, *_] = (await bench.do("audit.list"))["data"]
    assert (revoked["action"], revoked["actor"]) == ("key.revoke", f"uid:{os.getuid()}")


async def test_the_socket_is_its_owners_alone(owner: OwnerSocket, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "owner.sock").stat().st_mode) == 0o600
    assert await RemoteOffice(tmp_path).is_there()
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []  # noqa: PTH208 - not blocking


async def test_errors_arrive_as_they_were_raised(owner: OwnerSocket, tmp_path: Path) -> None:
    office = RemoteOffice(tmp_path)
    await office.do("accounts.create", {"id": "ada"})
    for params, kind, reason in (
        ({"id": "ada", "name": "other"}, Conflict, "conflict"),
        ({"id": "a b"}, InvalidInput, "invalid_input"),
    ):
        with pytest.raises(kind) as raised:
            await office.do("accounts.create", params)
        assert type(raised.value) is kind
        assert raised.value.reason == reason
    with pytest.raises(NotFound, match="There is no account eve"):
        await office.do("accounts.show", {"id": "eve"})
    with pytest.raises(InvalidInput, match="JSON can carry"):
        await office.do("accounts.create", {"id": {1, 2}})
    with pytest.raises(InvalidInput, match="at most"):
        await office.do("accounts.create", {"id": "x" * ASKED_MAX})


async def test_a_socket_that_a_dead_process_left_is_replaced(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "owner.sock").write_text("left behind")
    with pytest.raises(OwnerUnavailable):
        await RemoteOffice(tmp_path).do("health", {})
    served = OwnerSocket(tmp_path, bench.office)
    await served.start()
    assert (await RemoteOffice(tmp_path).do("health", {}))["state"] == "ok"
    await served.stop()
    assert not (tmp_path / "owner.sock").exists()


async def test_a_folder_with_a_long_path_works_too(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    folder.mkdir(parents=True)
    served = OwnerSocket(folder, bench.office)
    await served.start()
    assert (await RemoteOffice(folder).do("health", {}))["state"] == "ok"
    await served.stop()


async def test_nobody_answers_where_nobody_owns(tmp_path: Path) -> None:
    assert not await RemoteOffice(tmp_path).is_there()
    with pytest.raises(OwnerUnavailable, match="start the"):
        await RemoteOffice(tmp_path).do("health", {})


@pytest.mark.parametrize(
    "asked",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b'{"verb": 1}\n',
        b'{"verb": "health", "params": []}\n',
        b'{"verb": "health", "verb": "verify"}\n',
        b'{"verb": "health", "more": 1}\n',
        b'{"verb": "\\ud800"}\n',
        b'{"verb": "health", "params": {"a": NaN}}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
        b'{"verb": "drop.tables"}\n',
    ],
)
async def test_nonsense_is_answered_and_the_talk_goes_on(owner: OwnerSocket, asked: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(owner.path))
    writer.write(asked)
    told = json.loads(await reader.readline())
    assert told["error"]["class"] == "InvalidInput"
    writer.write(b'{"verb": "health"}\n')
    assert json.loads(await reader.readline())["answer"]["state"] == "ok"
    writer.close()


async def test_a_line_without_end_ends_the_talk(owner: OwnerSocket) -> None:
    reader, writer = await asyncio.open_unix_connection(str(owner.path))
    writer.write(b"x" * (ASKED_MAX + 1))
    told = json.loads(await reader.readline())
    assert "line of at most" in told["error"]["detail"]
    assert await reader.read() == b""
    writer.close()


async def test_decisions_are_told_until_the_listener_leaves(
    owner: OwnerSocket, tmp_path: Path, decisions: Decisions
) -> None:
    async with aclosing(RemoteOffice(tmp_path).tail()) as told:
        first = asyncio.ensure_future(anext(told))
        await decisions.begun.wait()
        for n in range(3):
            decisions.listeners[0]({"request_id": str(n)})
        assert (await first)["request_id"] == "0"
        assert [(await anext(told))["request_id"] for _ in range(2)] == ["1", "2"]
    await asyncio.wait_for(decisions.left.wait(), 10)
    assert decisions.listeners == []


async def test_a_slow_listener_hears_how_many_were_left_out(
    owner: OwnerSocket, tmp_path: Path, decisions: Decisions
) -> None:
    async with aclosing(RemoteOffice(tmp_path).tail()) as told:
        first = asyncio.ensure_future(anext(told))
        await decisions.begun.wait()
        for n in range(1500):
            decisions.listeners[0]({"n": n})
        heard = [await first] + [await anext(told) for _ in range(999)]
        assert sum(each["left_out"] for each in heard) == 500


async def test_the_owner_stops_while_somebody_listens(bench: Bench, tmp_path: Path) -> None:
    served = OwnerSocket(tmp_path, bench.office)
    await served.start()
    async with aclosing(RemoteOffice(tmp_path).tail()) as told:
        waiting = asyncio.ensure_future(anext(told, None))
        while not served._talks:  # noqa: ASYNC110 - what is waited for is inside the event loop
            await asyncio.sleep(0)
        await served.stop()
        [ended] = await asyncio.wait_for(asyncio.gather(waiting, return_exceptions=True), 10)
        assert ended is None or isinstance(ended, OwnerUnavailable)
