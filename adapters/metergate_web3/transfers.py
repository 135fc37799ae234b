"""Transfers of accepted tokens to our address, read out of logs and receipts.

A transfer is known by its chain, its transaction, and the place of its log among those of the transaction.
That place stays when the transaction comes into another block; the number that nodes give the log does not.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from metergate.provider_port import TryAgain
from metergate_web3.node import Nodes, agreed, part, quantity, word
from metergate_web3.settings import Chain

TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak of Transfer(address,address,uint256)."""
_NAME: Final = re.compile(r"(\d{1,20}):(0x[0-9a-f]{64}):(\d{1,9})")


class Transfer(NamedTuple):
    chain: int
    tx: str
    position: int
    token: str
    sender: str
    units: int

    @property
    def id(self) -> str:
        return f"{self.chain}:{self.tx}:{self.position}"


class Mined(NamedTuple):
    """A transaction in a block that all nodes have."""

    done: bool
    """Whether it went through; a transaction that was reverted moves nothing."""
    block: int
    hash: str
    at_us: int
    final: bool
    transfers: tuple[Transfer, ...]


class Named(NamedTuple):
    """A transfer by its name."""

    chain: int
    tx: str
    position: int


def named(text: str) -> Named | None:
    found = _NAME.fullmatch(text)
    return Named(int(found[1]), found[2], int(found[3])) if found else None


async def mined(nodes: Nodes, tx: str) -> Mined | None:
    """What a transaction came to, if every node has it in one and the same block of the chain."""
    final = await nodes.final()
    receipts = await nodes.ask_all("eth_getTransactionReceipt", tx)
    if not all(receipts):
        return None
    chain = nodes.chain
    done, number, hash, transfers = agreed(chain.id, [_read(chain, tx, each) for each in receipts], tx)
    block = await nodes.block(number)
    if block is None or block.hash != hash:
        return None
    settled = final is not None and number <= final.number
    return Mined(done, number, hash, block.at_us, settled, transfers)


async def seen(nodes: Nodes, first: int, last: int) -> list[Transfer]:
    """What these blocks have for us, as the first node tells it; each without its place."""
    chain = nodes.chain
    wanted = {
        "fromBlock": hex(first),
        "toBlock": hex(last),
        "address": [each.address for each in chain.tokens],
        "topics": [TRANSFER, None, _padded(chain.receive)],
    }
    told = await nodes.ask("eth_getLogs", wanted)
    if not isinstance(told, list):
        raise TryAgain(f"A node of the chain {chain.id} has logs that make no list.")
    return [found for each in told if (found := transfer(chain, each)) is not None]


def transfer(chain: Chain, log: Any, position: int = 0) -> Transfer | None:
    """A log as a transfer of an accepted token to us; None when it is anything else."""
    topics, data = part(log, "topics"), part(log, "data")
    address = str(part(log, "address")).lower()
    if chain.token(address) is None or log.get("removed") or len(topics) != 3:
        return None
    if str(topics[0]).lower() != TRANSFER or str(topics[2]).lower() != _padded(chain.receive):
        return None
    if len(data) != 66:
        return None
    tx, sender = word(part(log, "transactionHash")), f"0x{word(topics[1])[-40:]}"
    return Transfer(chain.id, tx, position, address, sender, quantity(data))


def _read(chain: Chain, tx: str, receipt: Any) -> tuple[bool, int, str, tuple[Transfer, ...]]:
    hash, number = word(part(receipt, "blockHash")), quantity(part(receipt, "blockNumber"))
    done = word(part(receipt, "transactionHash")) == tx and quantity(receipt.get("status") or "0x0") == 1
    told: Sequence[Any] = part(receipt, "logs") if done else ()
    found = [transfer(chain, each, place) for place, each in enumerate(told)]
    of_it = [each for each in found if each is not None and each.tx == tx and each.units]
    return done, number, hash, tuple(of_it)


def _padded(address: str) -> str:
    return f"0x{address[2:].lower():0>64}"
