"""What a payment on a chain is now: read off the chain whenever it is asked for, and credited once."""

from collections.abc import Mapping
from typing import NamedTuple

from metergate.provider_port import (
    CANCELED,
    LOST,
    PENDING,
    SUCCEEDED,
    DisputeFacts,
    Method,
    Misconfigured,
    Money,
    PaymentFacts,
    TryAgain,
    UnknownOutcome,
)
from metergate_web3.books import Books, Credited, Record, amount_of, asks_for
from metergate_web3.node import Block, Nodes, Refused
from metergate_web3.settings import Token
from metergate_web3.transfers import Mined, Named, Transfer, mined, named, seen


class Found(NamedTuple):
    transfer: Transfer
    mined: Mined


class Teller:
    def __init__(self, nodes: Mapping[int, Nodes], books: Books, *, live: bool) -> None:
        self._nodes = nodes
        self._books = books
        self._live = live

    async def of_order(self, record: Record) -> PaymentFacts:
        """By what paid it, by what its payer has named, or by what the newest blocks have."""
        paid = await self._books.paid(record.order)
        known = await self._books.credited(paid) if paid else None
        if known is not None:
            return await self._of_credited(paid, known)
        nodes = self._on(record.chain)
        await nodes.ready()
        found = await self._claimed(record) or await self._newest(nodes, record)
        if found is not None:
            return await self.of(record, found.transfer, found.mined)
        return self._waiting(record, await nodes.final())

    async def of_transfer(self, id: str) -> PaymentFacts | None:
        """By the name of a transfer: of the order that it was credited to, or that asked for it."""
        which = named(id)
        assert which is not None, "asked for by the name of a transfer"
        nodes = self._on(which.chain)
        await nodes.ready()
        known = await self._books.credited(id)
        if known is not None:
            return await self._of_credited(id, known)
        found = await self._find(nodes, which)
        if found is None:
            return None
        known = await self._books.credited(found.transfer.id)
        if known is not None:
            return await self._of_credited(found.transfer.id, known)
        record = await self._books.asker(found.transfer, found.mined.at_us)
        if record is None:
            return self._nobodys(found)
        return await self.of(record, found.transfer, found.mined)

    async def of(self, record: Record, one: Transfer, found: Mined) -> PaymentFacts:
        """An order and a transfer that belong together. Nothing is credited before it is final."""
        token = self._token(one)
        amount = amount_of(token, one.units)
        if not found.final:
            reason = f"It was sent, and counts as soon as the block {found.block} is final."
            return self._facts(record.order, record.order, PENDING, amount, one.sender, token, reason)
        enough = amount.minor >= record.minor
        if enough and not await self._books.credit(record.order, one, found):
            paid = await self._books.paid(record.order)
            if paid in ("", one.id):
                raise TryAgain(f"The transfer {one.id} is being credited to another payment.")
        reason = _remark(record, amount, found.at_us)
        return self._facts(one.id, record.order, SUCCEEDED, amount, one.sender, token, reason)

    async def _of_credited(self, id: str, known: Credited) -> PaymentFacts:
        """Paid; and a dispute that is lost when the chain has taken it back, against its promise."""
        which = named(id)
        assert which is not None, "credited under its name"
        nodes = self._on(which.chain)
        token = nodes.chain.token(known.token)
        if token is None:
            raise Misconfigured(f"The policy has no token {known.token} on the chain {which.chain} any more.")
        amount = amount_of(token, known.units)
        record = await self._books.record(known.order)
        reason = _remark(record, amount, known.at_us) if record else ""
        facts = self._facts(id, known.order, SUCCEEDED, amount, known.sender, token, reason)
        block = await nodes.block(known.block)
        if block is None:
            raise TryAgain(f"The chain {which.chain} has no block {known.block} that its nodes agree on.")
        if block.hash == known.hash or await self._still_there(nodes, id, which, known):
            return facts
        gone = "The chain has taken it back."
        return facts._replace(reason=gone, disputes=(DisputeFacts(f"gone:{id}", amount, LOST),))

    async def _still_there(self, nodes: Nodes, id: str, which: Named, known: Credited) -> bool:
        """Whether a transfer whose block went is in another one; not known before that is settled."""
        now = await mined(nodes, which.tx)
        if now is None:
            final = await nodes.final()
            waits = any(await nodes.ask_all("eth_getTransactionByHash", which.tx))
            if waits or final is None or final.number < known.block:
                raise TryAgain(f"The chain {which.chain} is putting its blocks in order again.")
            return False
        if not now.final:
            raise TryAgain(f"The transfer {id} is in another block, which is not final yet.")
        same = any((each.id, each.units) == (id, known.units) for each in now.transfers)
        if same:
            await self._books.moved(id, known, now)
        return same

    async def _claimed(self, record: Record) -> Found | None:
        """What the payer has named."""
        claimed = named(await self._books.claimed(record.order))
        nodes = self._nodes.get(claimed.chain) if claimed else None
        found = await self._find(nodes, claimed) if nodes and claimed else None
        return found if found and await self._is_for(record, found.transfer) else None

    async def _newest(self, nodes: Nodes, record: Record) -> Found | None:
        """What the feed has not come to yet: exactly this amount, in blocks that need not be final."""
        head = await nodes.head()
        first = max(record.opened_block, head.number - nodes.window + 1)
        if head.number < first:
            return None
        try:
            told = await seen(nodes, first, head.number)
        except (Refused, UnknownOutcome):
            nodes.narrow(head.number - first + 1)
            raise
        exact = [each for each in told if (each.token, each.units) == (record.token, record.units)]
        for tx in dict.fromkeys([each.tx for each in exact]):
            found = await mined(nodes, tx)
            for one in found.transfers if found else ():
                if found and asks_for(record, one, found.at_us) and await self._is_for(record, one):
                    return Found(one, found)
        return None

    async def _is_for(self, record: Record, one: Transfer) -> bool:
        """Whether it has paid nothing else: who sent it may have named it for another order."""
        known = await self._books.credited(one.id)
        return known is None or known.order == record.order

    async def _find(self, nodes: Nodes, which: Named) -> Found | None:
        found = await mined(nodes, which.tx)
        same = [each for each in found.transfers if each.position == which.position] if found else []
        return Found(same[0], found) if found and same else None

    def _waiting(self, record: Record, final: Block | None) -> PaymentFacts:
        amount = Money(record.minor, record.currency)
        if final is not None and final.at_us > record.expires_at_us:
            reason = "Nobody paid in time; what comes later is credited all the same, if the amount is exact."
            return PaymentFacts(record.order, record.order, CANCELED, amount, self._live, reason=reason)
        return PaymentFacts(record.order, record.order, PENDING, amount, self._live)

    def _nobodys(self, found: Found) -> PaymentFacts:
        """Money that nobody was asked for. It stays visible, and its sender can claim it."""
        one, token = found.transfer, self._token(found.transfer)
        state = SUCCEEDED if found.mined.final else PENDING
        sent = f"{token.shown(one.units)} {token.symbol}"
        reason = f"{sent} came from {one.sender}, and nobody was asked for exactly that."
        return self._facts(one.id, "", state, amount_of(token, one.units), one.sender, token, reason)

    def _facts(
        self, id: str, order: str, state: str, amount: Money, sender: str, token: Token, reason: str
    ) -> PaymentFacts:
        method = Method(sender, "crypto", token.symbol, sender[-4:])
        return PaymentFacts(
            id, order, state, amount, self._live, method=method, reason=reason, keeps_excess=True
        )

    def _on(self, chain: int) -> Nodes:
        nodes = self._nodes.get(chain)
        if nodes is None:
            raise Misconfigured(f"The policy has no chain {chain} any more.")
        return nodes

    def _token(self, one: Transfer) -> Token:
        token = self._on(one.chain).chain.token(one.token)
        assert token is not None, "only accepted tokens are read"
        return token


def _remark(record: Record, amount: Money, at_us: int) -> str:
    """What people should know of a payment that is not quite what was asked for."""
    if amount.minor < record.minor:
        return f"It pays {amount.minor} of {record.minor}."
    late = "It was paid after it had expired." if at_us > record.expires_at_us else ""
    more = "More was paid than was asked for, and all of it counts." if amount.minor > record.minor else ""
    return " ".join([each for each in (late, more) if each])
