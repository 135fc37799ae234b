"""Several processes push from one PostgreSQL, and the provider counts everything once."""

import asyncio
import random

from metergate.ledger.database import Ledger
from metergate.ledger.thread import LedgerThread
from tests.billing.bench import opened
from tests.billing.usage_bench import HOUR_US, ZERO_US, Pushing, Use

PROCESSES = 3
HOURS = 12
ACCOUNTS = ("acct", "b", "c", "d")


async def test_processes_that_push_together_tell_everything_once(postgres_url: str) -> None:
    chance = random.Random(5)
    async with opened(postgres_url) as bench:
        pushing = Pushing(bench)
        for account in ACCOUNTS:
            if account != "acct":
                await bench.office.accounts.create(account)
            await pushing.meet(account, f"cus_{account}")
        ledgers = [LedgerThread(Ledger.open(postgres_url, durable=False)) for _ in range(PROCESSES)]
        pushers = [pushing.a_pusher(ledger=ledger) for ledger in ledgers]
        used = dict.fromkeys(ACCOUNTS, 0)
        try:
            for _ in range(HOURS):
                for account in ACCOUNTS:
                    for _ in range(3):
                        units = chance.randrange(1, 9)
                        used[account] += units
                        at_us = ZERO_US + chance.randrange(pushing.clock() - ZERO_US + HOUR_US)
                        await pushing.use(Use(units, at_us, account=account))
                pushing.clock.advance(us=HOUR_US)
                bench.server.fault({"kind": chance.choice(["lost", "broken", "busy"])})
                await asyncio.gather(*(each.run_once() for each in pushers))
            bench.server.well()
            await pushing.until_done()
        finally:
            for ledger in ledgers:
                await ledger.close()
        assert {each: pushing.counts(customer=f"cus_{each}") for each in ACCOUNTS} == used
        await pushing.agrees()
