"""A rolling deploy: processes of two versions, whose scripts differ, over the same server."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import metergate_redis
from metergate.ports import CONFLICT, DENIED, DONE, ENDED, GRANTED
from metergate.testing.conformance.bench import money
from tests.adapters.redis.stores import a_hold, balance, held, know, now_us, settled, stores
from tests.valkey import Server, command, running, valkey_binary

ROOT = Path(__file__).parents[3]
NEWER = """
import asyncio, sys
from metergate.testing.conformance.bench import money
from metergate_redis.scripts import SCRIPTS
from tests.adapters.redis.stores import a_hold, held, settled, stores

async def calls():
    async with stores(sys.argv[1]) as make:
        store = await make()
        ended = await settled(store, "older")
        asked = [await a_hold(store, "newer", money(2)), await a_hold(store, "dear", money(99))]
        print(SCRIPTS["turn"].sha.decode(), *ended, *[each.status for each in await held(store, *asked)])

asyncio.run(calls())
"""


def newer(folder: Path) -> Path:
    """The adapter with scripts that say the same in another text."""
    package = folder / "metergate_redis"
    shutil.copytree(Path(metergate_redis.__file__).parent, package)
    for script in package.glob("scripts/*.lua"):
        script.write_text(f"{script.read_text()}\n-- newer\n")
    return folder


async def calls_of_the_newer(folder: Path, server: Server) -> list[str]:
    path = os.pathsep.join(map(str, (newer(folder), ROOT, ROOT / "adapters")))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", NEWER, server.url),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    told, _ = await child.communicate()
    return told.decode().split()


async def test_two_versions_end_each_others_calls_and_remember_what_the_other_denied(tmp_path: Path) -> None:
    with running(valkey_binary()) as server:
        async with stores(server.url) as make:
            older = await make()
            await know(older, balance=10)
            await held(older, await a_hold(older, "older", money(5)))
            sha, *told = await calls_of_the_newer(tmp_path, server)
            assert told == [DONE, GRANTED, DENIED]
            assert command(server, "SCRIPT", "EXISTS", sha) == b"*1\r\n:1\r\n"
            assert sha.encode() != metergate_redis.scripts.SCRIPTS["turn"].sha
            asked = (("dear", 1), ("newer", 2), ("newer", 3), ("older", 5))
            holds = [await a_hold(older, op, money(amount)) for op, amount in asked]
            statuses = [each.status for hold in holds for each in await held(older, hold)]
            assert statuses == [DENIED, GRANTED, CONFLICT, ENDED]
            assert await balance(older) == 3
            assert list(await older.release(["newer"], now_us())) == [DONE]
            assert await settled(older, "older") == [DONE]
            assert await balance(older) == 5
