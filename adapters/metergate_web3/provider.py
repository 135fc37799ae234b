"""The adapter: an address and an amount for a checkout, and what the chain says of it."""

from collections.abc import Sequence
from typing import Final

from metergate.errors import InvalidInput, ProviderError
from metergate.provider_port import (
    Checkout,
    Context,
    EventPage,
    Misconfigured,
    Money,
    Order,
    PaymentFacts,
    ProviderHealth,
)
from metergate_web3 import claims
from metergate_web3.books import WEEK_US, Books, Record
from metergate_web3.node import Nodes
from metergate_web3.settings import Chain, Token
from metergate_web3.telling import Teller
from metergate_web3.transfers import named
from metergate_web3.watcher import Watcher

DAY_US: Final = 86_400 * 10**6
LAGS_US: Final = 900 * 10**6
"""A chain whose newest block is older than this is not well, or its node is not."""


class Web3Provider:
    """Checkouts, look-ups, claims and a feed. It holds no key, so nothing can be sent back from here."""

    def __init__(self, context: Context, chains: Sequence[Chain]) -> None:
        self._clock = context.clock
        self._nodes = {each.id: Nodes(each, context.http, context.clock) for each in chains}
        self._books = Books(context.notes)
        self._teller = Teller(self._nodes, self._books, live=self.live)
        self._claimant = claims.Claimant(self._books)
        self._watcher = Watcher(list(self._nodes.values()), self._books, context.clock)

    @property
    def live(self) -> bool:
        return not any(each.chain.test for each in self._nodes.values())

    async def health(self) -> ProviderHealth:
        told = [await self._health(each) for each in self._nodes.values()]
        return ProviderHealth(all(each.ok for each in told), "; ".join([each.detail for each in told]))

    async def close(self) -> None: ...

    async def examine(self) -> Sequence[str]:
        """For `metergate doctor`: where money counts that a chain may still take back."""
        return [
            f"The chain {each.chain.id} counts payments as soon as a block has them, and a block may go: "
            "use finality: finalized, or more confirmations."
            for each in self._nodes.values()
            if each.chain.hasty and not each.chain.test
        ]

    def objection(self, amount: Money) -> str:
        taken = sorted({token.currency for _, token in self._accepted()})
        if amount.currency in taken:
            return ""
        return f"Tokens are accepted for {', '.join(taken)}, not for {amount.currency}."

    async def open_checkout(self, order: Order) -> Checkout:
        known = await self._books.record(order.id)
        if known is None:
            chain, token = self._chosen(order)
            nodes = self._nodes[chain.id]
            await nodes.ready()
            head = await nodes.head()
            now_us = self._clock()
            until_us = min(order.expires_at_us or now_us + DAY_US, now_us + WEEK_US)
            known = await self._books.open(order, chain, token, head, until_us)
        return self._checkout(known)

    async def fetch_payment(self, id: str) -> PaymentFacts | None:
        if named(id) is not None:
            return await self._teller.of_transfer(id)
        record = await self._books.record(id)
        return await self._teller.of_order(record) if record is not None else None

    async def find_payment(self, order: str) -> PaymentFacts | None:
        record = await self._books.record(order)
        return await self._teller.of_order(record) if record is not None else None

    async def events_after(self, cursor: str) -> EventPage:
        return await self._watcher.events_after(cursor)

    async def claim_payment(self, order: str, transaction: str, signature: str) -> PaymentFacts:
        claim = claims.read(transaction)
        record = await self._books.record(order)
        nodes = self._nodes.get((claim.chain or record.chain) if record is not None else 0)
        if record is None or nodes is None:
            raise InvalidInput(f"The payment {order:.80} cannot be paid on this chain.")
        await nodes.ready()
        one, found = await self._claimant.chosen(nodes, record, claim, signature)
        await self._books.claim(order, one.id)
        return await self._teller.of(record, one, found)

    async def _health(self, nodes: Nodes) -> ProviderHealth:
        id = nodes.chain.id
        try:
            await nodes.ready()
            head, final = await nodes.head(), await nodes.final()
        except ProviderError as error:
            return ProviderHealth(ok=False, detail=f"chain {id}: {error}")
        late_s = (self._clock() - head.at_us) // 10**6
        if late_s * 10**6 > LAGS_US:
            return ProviderHealth(ok=False, detail=f"chain {id}: its newest block is {late_s} s old")
        until = f"final until {final.number}" if final else "none of them final"
        return ProviderHealth(ok=True, detail=f"chain {id}: block {head.number}, {until}")

    def _accepted(self) -> list[tuple[Chain, Token]]:
        return [(each.chain, token) for each in self._nodes.values() for token in each.chain.tokens]

    def _chosen(self, order: Order) -> tuple[Chain, Token]:
        """The token that the payer asked for, as USDC or USDC:8453; otherwise the first of the currency."""
        symbol, _, chain = order.options.get("token", "").partition(":")
        for one, token in self._accepted():
            asked = (symbol or token.symbol).lower(), chain or str(one.id)
            if token.currency == order.amount.currency and asked == (token.symbol.lower(), str(one.id)):
                return one, token
        names = ", ".join([f"{token.symbol}:{one.id}" for one, token in self._accepted()])
        raise InvalidInput(f"Pay with one of {names}.")

    def _checkout(self, record: Record) -> Checkout:
        nodes = self._nodes.get(record.chain)
        token = nodes.chain.token(record.token) if nodes else None
        if nodes is None or token is None:
            raise Misconfigured(f"The policy has no chain {record.chain} with {record.token} any more.")
        chain = nodes.chain
        return Checkout(
            record.order,
            f"ethereum:{token.address}@{chain.id}/transfer?address={chain.receive}&uint256={record.units}",
            record.expires_at_us,
            {
                "address": chain.receive,
                "amount": token.shown(record.units),
                "token": token.symbol,
                "chain": str(chain.id),
                "contract": token.address,
                "units": str(record.units),
                "decimals": str(token.decimals),
                "sign": claims.text(record.order, chain.id, chain.receive),
            },
        )
