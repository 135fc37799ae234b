"""A PostgreSQL that takes every connection and every word, and never answers: nobody waits for ever."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from metergate.ledger import Ledger, LedgerUnavailable, Tx
from metergate.ledger.thread import LedgerThread
from tests.faults.harness.lines import HEALS_S, Lines

EVER_S = 3600.0
PATIENCE_S = 2.0


@pytest.fixture
async def ledger(lines: Lines) -> AsyncIterator[LedgerThread]:
    thread = LedgerThread(Ledger.open(f"{lines.ledger_url}&connect_timeout=2"), PATIENCE_S)
    yield thread
    await thread.close()


def one(tx: Tx) -> int:
    return int(tx.sql("SELECT 1").scalar_one())


async def test_whoever_waits_for_a_silent_ledger_hears_that_it_is_away(
    lines: Lines, ledger: LedgerThread
) -> None:
    """Also those behind in the queue; and when it speaks again all goes on."""
    assert await ledger.read(one) == 1
    lines.ledger.delay_s = EVER_S
    async with asyncio.timeout(HEALS_S):
        told = await asyncio.gather(ledger.read(one), ledger.write(one), return_exceptions=True)
    assert [type(each) for each in told] == [LedgerUnavailable] * 2
    lines.ledger.delay_s = 0.0
    assert await ledger.read(one) == 1
    assert ledger.errors == 2


async def test_a_long_piece_of_work_is_not_taken_for_a_silence(ledger: LedgerThread) -> None:
    def long(tx: Tx) -> int:
        tx.sql("SELECT pg_sleep(%s)", (2.5 * PATIENCE_S,))
        return one(tx)

    assert await ledger.read(long) == 1


async def test_who_takes_a_connection_and_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        thread = LedgerThread(Ledger.open(f"postgresql://nobody@127.0.0.1:{port}/nothing"))
        async with asyncio.timeout(HEALS_S):
            with pytest.raises(LedgerUnavailable, match="cannot be used"):
                await thread.read(one)
            await thread.close()
