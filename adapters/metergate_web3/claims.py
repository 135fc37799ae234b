"""Claims: a payer names a transaction. What is not exact to the last digit needs the sender's signature."""

import asyncio
import re
from typing import Final, NamedTuple

from metergate.errors import InvalidInput

_CLAIM: Final = re.compile(r"(?:(\d{1,20}):)?(0x[0-9a-fA-F]{64})(?::(\d{1,9}))?")
_SIGNATURE: Final = re.compile(r"0x[0-9a-fA-F]{130}")


class Claim(NamedTuple):
    chain: int | None
    tx: str
    position: int | None


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
    # Half a second to import, and most payments need no signature.
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    try:
        found = Account.recover_message(encode_defunct(text=said), signature=signature)
    except (BadSignature, ValidationError, ValueError):
        raise InvalidInput(
            "The signature is none: sign the text of the checkout with personal_sign."
        ) from None
    return str(found).lower()
