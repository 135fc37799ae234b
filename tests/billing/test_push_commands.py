"""`metergate reconcile` and `metergate pushes`, as they are typed."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metergate.provider_port import Payer
from metergate.provider_port.http import ask
from metergate_sandbox import Server
from tests.billing.bench import KEY, SECRET
from tests.cli.conftest import POLICY, Shell
from tests.waiting import until


class Typed:
    """Somebody at a terminal, with a sandbox beside them."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self._shell = Shell(folder)
        self._environ = {
            "METERGATE_DATA": str(folder / "data"),
            "METERGATE_PUSH_WINDOW": "1s",
            "SANDBOX_API_BASE": server.url,
            "SANDBOX_SECRET_KEY": KEY,
            "SANDBOX_WEBHOOK_SECRET": SECRET,
        }

    async def types(self, line: str) -> tuple[int, str]:
        done = await asyncio.to_thread(self._shell.run, line, **self._environ)
        return done.exit_code, done.output

    async def sees(self, line: str, code: int, *words: str) -> None:
        found, said = await self.types(line)
        assert found == code, said
        assert all(word in said for word in words), said

    def counted(self) -> int:
        return sum(each.total.units for each in self.server.sandbox.usage.counted)


@pytest.fixture
async def typed(tmp_path: Path) -> AsyncIterator[Typed]:
    (tmp_path / "policy.yaml").write_text(f"{POLICY}provider: sandbox\n")
    server = Server(KEY, SECRET, lambda: time.time_ns() // 1000, ask)
    await server.start()
    server.sandbox.create_customer(Payer("acme"))
    try:
        yield Typed(tmp_path, server)
    finally:
        await server.close()


async def test_what_differs_is_told_and_put_right(typed: Typed) -> None:
    await typed.sees("accounts create acme", 0)
    await typed.sees("customers import acme sandbox cus_acme", 0)
    await typed.sees("usage record acme tokens 120 --id job-7", 0)

    async def told() -> bool:
        code, said = await typed.types("reconcile")
        assert code == 0, said
        return typed.counted() == 120

    await until(told)
    await typed.sees("pushes list --state accepted", 0, "acme", "tokens", "120")
    await typed.sees("reconcile", 0, "1 summaries of providers say the same")
    typed.server.sandbox.usage.counted.clear()
    await typed.sees(
        "reconcile", 1, "sandbox counts 0 of tokens of acme (cus_acme)", "was told 120", "--repair"
    )
    await typed.sees("reconcile --repair", 0, "1 repairs were made")
    assert typed.counted() == 120
    await typed.sees("reconcile --repair --account acme --provider sandbox", 0)
    assert typed.counted() == 120
    await typed.sees("verify", 0)


async def test_a_window_has_a_length_that_divides_a_day(typed: Typed) -> None:
    typed._environ["METERGATE_PUSH_WINDOW"] = "7h"
    await typed.sees("reconcile", 1, "Set METERGATE_PUSH_WINDOW to a length that divides a day")
    typed._environ["METERGATE_PUSH_WINDOW"] = "soon"
    await typed.sees("reconcile", 1, "Set METERGATE_PUSH_WINDOW to a duration")


async def test_windows_are_told_before_the_invoice_of_their_period_is_final(typed: Typed) -> None:
    typed._environ["METERGATE_PUSH_EVERY"] = "2h"
    await typed.sees("reconcile", 1, "Set METERGATE_PUSH_EVERY to 30m or less")


async def test_without_a_provider_there_is_nothing_to_reconcile(tmp_path: Path, typed: Typed) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    await typed.sees("reconcile", 0, "nothing to compare")
    await typed.sees("pushes list", 0)
