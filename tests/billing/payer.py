"""A process that pays order after order with a kept method, and is killed now and then."""

import asyncio
import os
import sys
from pathlib import Path

from metergate.bootstrap import Gate
from metergate.config.settings import Settings
from metergate.errors import ProviderError
from tests.billing.bench import POLICY


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def kept(gate: Gate) -> str:
    """The method of an earlier life, or a new one."""
    while True:
        try:
            listed = (await gate.office.payments.methods("acct"))["data"]
            found = listed[0] if listed else await gate.office.payments.attach("acct", "tok_visa")
        except ProviderError:
            await asyncio.sleep(0.01)
        else:
            return str(found["id"])


async def pay(folder: Path, orders: int) -> None:
    settings = Settings(data=folder, environ=dict(os.environ))
    async with Gate.open({**POLICY, "provider": "sandbox"}, settings=settings) as gate:
        await gate.office.accounts.create("acct")
        method = await kept(gate)
        for number in range(orders):
            say(str(number))
            paid = False
            while not paid:
                try:
                    payment = await gate.pay("acct", "1.00", method=method, id=f"order-{number}")
                    paid = payment.state == "succeeded"
                except ProviderError:
                    await asyncio.sleep(0.01)
        say(f"balance {await gate.balance('acct')}")
        say(f"verified {(await gate.office.books.verify())['ok']}")


if __name__ == "__main__":
    asyncio.run(pay(Path(sys.argv[1]), int(sys.argv[2])))
