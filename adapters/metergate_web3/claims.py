"""Claims: a payer names a transaction. What is not exact to the last digit needs the sender's signature."""

import asyncio
import re
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from metergate.errors import InvalidInput
from metergate_web3.books import Books, Record, asks_for
from metergate_web3.node import Nodes
from metergate_web3.settings import Chain
from metergate_web3.transfers import Mined, Transfer, mined

_CLAIM: Final = re.compile(r"(?:(\d{1,20}):)?(0x[0-9a-fA-F]{64})(?::(\d{1,9}))?")
_SIGNATURE: Final = re.compile(r"0x[0-9a-fA-F]{130}")


class Claim(NamedTuple):
    chain: int | None
    tx: str
    position: int | None


class Claimant:
    """Which transfer a payer means, if it is his to name."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def chosen(
        self, nodes: Nodes, record: Record, claim: Claim, signature: str
    ) -> tuple[Transfer, Mined]:
        chain, found = nodes.chain, await mined(nodes, claim.tx)
        if found is None:
            raise InvalidInput(f"The chain {chain.id} has no transaction {claim.tx} in a block: try later.")
        if not found.done:
            raise InvalidInput(
                f"The transaction {claim.tx} failed on the chain {chain.id} and moved nothing."
            )
        since = await self._books.since(chain.id, await nodes.head())
        if found.at_us < since.at_us:
            raise InvalidInput("The transaction is older than anything that was asked for here.")
        free = await self._free(chain, record, claim, found)
        exact = [each for each in free if asks_for(record, each, found.at_us)]
        return exact[0] if exact else await self._signed(chain, record, free, signature), found

    async def _free(self, chain: Chain, record: Record, claim: Claim, found: Mined) -> Sequence[Transfer]:
        """What a transaction sent to us in this currency, and what no other order has."""
        fit = [
            each
            for each in found.transfers
            if claim.position in (None, each.position) and _currency(chain, each) == record.currency
        ]
        if not fit:
            raise InvalidInput(f"The transaction {claim.tx} sends no accepted token to {chain.receive}.")
        credited = [await self._books.credited(each.id) for each in fit]
        taken = zip(fit, credited, strict=True)
        free = [each for each, known in taken if known is None or known.order == record.order]
        if not free or await self._books.paid(record.order) not in ("", *(each.id for each in free)):
            raise InvalidInput("The transfer was credited already, or this payment was paid by another one.")
        return free

    async def _signed(
        self, chain: Chain, record: Record, free: Sequence[Transfer], signature: str
    ) -> Transfer:
        said = text(record.order, chain.id, chain.receive)
        if not signature:
            raise InvalidInput(f'It does not pay the exact amount: sign "{said}" with the address that paid.')
        by = await signer(said, signature)
        own = [each for each in free if each.sender == by]
        if not own:
            raise InvalidInput(f'{by} has signed "{said}", and did not send this transfer.')
        if len(own) > 1:
            places = " or ".join([f"{each.tx}:{each.position}" for each in own])
            raise InvalidInput(f"The transaction has several transfers: name one of them, {places}.")
        return own[0]


def read(text: str) -> Claim:
    """0x… on the order's chain, 137:0x… on another, 0x…:2 where a transaction has several transfers."""
    found = _CLAIM.fullmatch(text)
    if found is None:
        raise InvalidInput("Name a transaction by its hash, 0x and 64 hexadecimal digits.")
    chain, tx, position = found.groups()
    return Claim(int(chain) if chain else None, tx.lower(), int(position) if position else None)


def text(order: str, chain: int, receive: str) -> str:
    """What the address that paid signs: for one order, and for the one service that owns the address."""
    return f"I paid the order {order} on the chain {chain} to {receive}."


async def signer(said: str, signature: str) -> str:
    """The address that has signed a text with personal_sign (EIP-191); in a thread, for it takes its time."""
    if not _SIGNATURE.fullmatch(signature):
        raise InvalidInput("Give a signature as personal_sign makes it, 0x and 130 hexadecimal digits.")
    return await asyncio.to_thread(_signer, said, signature)


def _signer(said: str, signature: str) -> str:
    # Half a second to import, and most payments need no signature. What it brings lets the whole process
    # recurse until the stack overflows, so that anybody's nested JSON would be the end of it.
    deepest = sys.getrecursionlimit()
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    sys.setrecursionlimit(deepest)
    try:
        found = Account.recover_message(encode_defunct(text=said), signature=signature)
    except (BadSignature, ValidationError, ValueError):
        raise InvalidInput(
            "The signature is none: sign the text of the checkout with personal_sign."
        ) from None
    return str(found).lower()


def _currency(chain: Chain, transfer: Transfer) -> str:
    token = chain.token(transfer.token)
    return token.currency if token else ""
