"""A process that uses call after call of a customer whose usage is pushed, and is killed now and then."""

import asyncio
import os
import sys
from pathlib import Path

from metergate.bootstrap import Gate
from metergate.config.settings import Settings
from metergate.errors import ProviderError
from tests.billing.bench import POLICY
from tests.billing.payer import say
from tests.waiting import until

SECOND_US = 10**6


async def known(gate: Gate) -> None:
    """The sandbox knows the account, from now on or since an earlier life."""
    while True:
        try:
            await gate.office.payments.methods("acct")
        except ProviderError:
            await asyncio.sleep(0.01)
        else:
            return


async def told(gate: Gate) -> int:
    """How much the provider was told, once all say the same of it."""
    try:
        agree = (await gate.office.pushes.reconcile())["ok"]
    except ProviderError:
        return 0
    units = [each["units"] for each in (await gate.office.pushes.page(limit=1000))["data"]]
    return sum(units) if agree else 0


async def use(folder: Path, calls: int) -> None:
    settings = Settings(
        data=folder, environ=dict(os.environ), push_window_us=SECOND_US, push_every_us=SECOND_US // 10
    )
    async with Gate.open({**POLICY, "provider": "sandbox"}, settings=settings) as gate:
        await gate.office.accounts.create("acct")
        await known(gate)
        for number in range(calls):
            await gate.record("acct", "requests", 3, cost="0", idempotency_key=f"call-{number}")
            say(str(number))
            await asyncio.sleep(0.05)

        async def all_told() -> bool:
            return await told(gate) == 3 * calls

        await until(all_told)
        say(f"told {3 * calls}")
        say(f"verified {(await gate.office.books.verify())['ok']}")


if __name__ == "__main__":
    asyncio.run(use(Path(sys.argv[1]), int(sys.argv[2])))
