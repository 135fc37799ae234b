"""What is remembered of payments on chains, as notes in the ledger.

    order/<order>                         what was asked for: written last, so that it holds
    amount/<chain>/<token>/<units>/<week> the order that asks for exactly this amount
    since/<chain>                         the block at which we began to look: what was before is not ours
    claim/<order>                         the transfer that its payer has named
    credited/<transfer>                   the order that it was credited to: taken once and never let go
    paid/<order>                          the transfer that paid it: the same

An amount is kept for the week of a checkout and the next one, then it may be asked for again. So a payer who
is late still meets his own order, and no amount needs to be given back by somebody who may die first.
"""

import json
import secrets
from typing import Final, NamedTuple

from metergate.provider_port import Money, Notes, Order, TryAgain
from metergate_web3.node import Block
from metergate_web3.settings import Chain, Token
from metergate_web3.transfers import Mined, Transfer

WEEK_US: Final = 7 * 86_400 * 10**6
TRIES: Final = 40


class Record(NamedTuple):
    """What somebody was asked to send."""

    order: str
    chain: int
    token: str
    units: int
    minor: int
    currency: str
    opened_block: int
    opened_at_us: int
    """By the clock of the chain: what it has is as old as the chain says."""
    expires_at_us: int


class Credited(NamedTuple):
    """A transfer that was credited, and the block that it was in."""

    order: str
    token: str
    sender: str
    units: int
    block: int
    hash: str
    at_us: int


class Books:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    async def record(self, order: str) -> Record | None:
        found = await self._notes.read(f"order/{order}")
        return Record(*json.loads(found)) if found else None

    async def open(self, order: Order, chain: Chain, token: Token, head: Block, expires_at_us: int) -> Record:
        """The amount that an order is to be paid with, which nobody else is asked for."""
        known = await self.record(order.id)
        if known is not None:
            return known
        await self.since(chain.id, head)
        units = await self._reserve(order, chain, token, head.at_us)
        asked = (units, order.amount.minor, order.amount.currency)
        new = Record(order.id, chain.id, token.address, *asked, head.number, head.at_us, expires_at_us)
        if await self._notes.take(f"order/{order.id}", json.dumps(new)):
            return new
        known = await self.record(order.id)
        assert known is not None, "orders are never forgotten"
        return known

    async def asker(self, transfer: Transfer, at_us: int) -> Record | None:
        """The order that asked for exactly this, before it was sent."""
        name = _amount(transfer.chain, transfer.token, transfer.units, at_us // WEEK_US)
        order = await self._notes.read(name)
        record = await self.record(order) if order else None
        return record if record is not None and asks_for(record, transfer, at_us) else None

    async def since(self, chain: int, head: Block) -> Block:
        """Where we began to look at a chain: now, unless that was before."""
        name = f"since/{chain}"
        if await self._notes.take(name, json.dumps(head)):
            return head
        known = await self._notes.read(name)
        assert known is not None, "it is never forgotten"
        return Block(*json.loads(known))

    async def claim(self, order: str, transfer: str) -> None:
        await self._notes.write(f"claim/{order}", transfer)

    async def claimed(self, order: str) -> str:
        return await self._notes.read(f"claim/{order}") or ""

    async def paid(self, order: str) -> str:
        """The transfer that an order was paid with."""
        return await self._notes.read(f"paid/{order}") or ""

    async def credited(self, transfer: str) -> Credited | None:
        found = await self._notes.read(f"credited/{transfer}")
        return Credited(*json.loads(found)) if found else None

    async def credit(self, order: str, transfer: Transfer, mined: Mined) -> bool:
        """Credit a transfer to an order; False where either of them has another partner."""
        if await self.paid(order) not in ("", transfer.id):
            return False
        sent = (transfer.token, transfer.sender, transfer.units)
        new = Credited(order, *sent, mined.block, mined.hash, mined.at_us)
        if not await self._notes.take(f"credited/{transfer.id}", json.dumps(new)):
            known = await self.credited(transfer.id)
            if known is None or known.order != order:
                return False
        if await self._notes.take(f"paid/{order}", transfer.id):
            return True
        return await self.paid(order) == transfer.id

    async def moved(self, transfer: str, known: Credited, mined: Mined) -> None:
        """A credited transfer stands in another block now."""
        new = known._replace(block=mined.block, hash=mined.hash, at_us=mined.at_us)
        await self._notes.write(f"credited/{transfer}", json.dumps(new))

    async def credited_since(self, chain: int, block: int) -> list[str]:
        """The credited transfers of these blocks; only asked for when what was final has changed."""
        notes = await self._notes.listed(f"credited/{chain}:")
        return [
            name.removeprefix("credited/")
            for name, text in notes.items()
            if Credited(*json.loads(text)).block >= block
        ]

    async def _reserve(self, order: Order, chain: Chain, token: Token, at_us: int) -> int:
        """Chance finds an amount faster than counting, and nobody can guess which one is next.

        Never the plain price: a transfer of a round amount that nobody asked for must not meet an order.
        """
        step = token.unit // token.choices
        week = at_us // WEEK_US
        for _ in range(TRIES):
            units = order.amount.minor * token.unit + step * (1 + secrets.randbelow(token.choices - 1))
            this, next = (_amount(chain.id, token.address, units, week + each) for each in (0, 1))
            if not await self._notes.take(this, order.id):
                continue
            if await self._notes.take(next, order.id):
                return units
        raise TryAgain("Too many payments of this price are open; pay another amount, or with another token.")


def asks_for(record: Record, transfer: Transfer, at_us: int) -> bool:
    """Whether this is what an order asked for, to the last digit, and was not sent before it did."""
    asked = (record.chain, record.token, record.units)
    return (transfer.chain, transfer.token, transfer.units) == asked and at_us >= record.opened_at_us


def amount_of(token: Token, units: int) -> Money:
    """What a transfer is worth, rounded down."""
    return Money(units // token.unit, token.currency)


def _amount(chain: int, token: str, units: int, week: int) -> str:
    return f"amount/{chain}/{token}/{units}/{week}"
