"""A pepper that leaked is followed by another, and leaves the ledger key by key, as each is shown."""

from pathlib import Path

import pytest

from metergate.admin.keys import DEPLOYED_US
from metergate.ledger import keys
from metergate.testing.clock import FakeClock
from tests.shell import Shell, hello, metered
from tests.waiting import until


async def pepper_of(shell: Shell) -> int:
    key = await shell.engine.foundation.ledger.read(lambda tx: keys.get(tx, shell.key[8:18]))
    assert key is not None
    return key.facts.pepper


@pytest.mark.parametrize("target", ["/x", "/free/x"])
async def test_a_key_that_is_shown_comes_under_the_newest_pepper(tmp_path: Path, target: str) -> None:
    """Once all processes have had time to hear of that pepper; and the key goes on working."""
    clock = FakeClock()
    async with metered(hello, tmp_path, clock=clock, peppers=("leaked",)) as shell:
        assert (await shell.fetch("GET", target)).status == 200
        shown = shell.key
    async with metered(hello, tmp_path, clock=clock, customer=False, peppers=("leaked", "new")) as shell:
        shell.key = shown
        assert (await shell.fetch("GET", target)).status == 200
        assert await pepper_of(shell) == 1
        clock.advance(seconds=DEPLOYED_US / 10**6)
        assert (await shell.fetch("GET", target)).status == 200

        async def is_newest() -> bool:
            return await pepper_of(shell) == 2

        await until(is_newest)
        for _ in range(2):
            clock.advance(seconds=2)
            assert (await shell.fetch("GET", target)).status == 200
        forged = shown[:20] + shown[20:].swapcase()
        assert (await shell.fetch("GET", target, key=forged)).status == 401


async def test_a_newer_pepper_is_not_replaced_by_an_older(tmp_path: Path) -> None:
    """Of a process that has not heard of it, or of a proof that came late."""
    async with metered(hello, tmp_path, peppers=("old", "new")) as shell:
        kid, ledger = shell.key[8:18], shell.engine.foundation.ledger
        await ledger.write(lambda tx: keys.rehash(tx, kid, "0" * 64, 1))
        assert await pepper_of(shell) == 2
        assert (await shell.fetch("GET", "/x")).status == 200
