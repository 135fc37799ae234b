"""Transfers of accepted tokens to our address, read out of logs and receipts.

A transfer is known by its chain, its transaction, and the place of its log among those of the transaction.
That place stays when the transaction comes into another block; the number that nodes give the log does not.
"""

import re
from typing import Any, Final, NamedTuple

from metergate_web3.node import Block, Nodes, agreed, listed, part, quantity, word
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


async def mined(nodes: Nodes, tx: str, final: Block | None = None) -> Mined | None:
    """What a transaction came to, if every node has it in one and the same block of the chain."""
    final = final or await nodes.final()
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
    return [found for each in listed(told) if (found := transfer(chain, each)) is not None]


def transfer(chain: Chain, log: Any, position: int = 0) -> Transfer | None:
    """A log as a transfer of an accepted token to us; None when it is anything else."""
    address, data = str(part(log, "address")).lower(), str(part(log, "data"))
    topics = [str(each).lower() for each in listed(part(log, "topics"))]
    if chain.token(address) is None or log.get("removed") or len(topics) != 3 or len(data) != 66:
        return None
    if topics[0] != TRANSFER or topics[2] != _padded(chain.receive):
        return None
    tx, sender = word(part(log, "transactionHash")), f"0x{word(topics[1])[-40:]}"
    return Transfer(chain.id, tx, position, address, sender, quantity(data))


def _read(chain: Chain, tx: str, receipt: Any) -> tuple[bool, int, str, tuple[Transfer, ...]]:
    hash, number = word(part(receipt, "blockHash")), quantity(part(receipt, "blockNumber"))
    done = word(part(receipt, "transactionHash")) == tx and quantity(receipt.get("status") or "0x0") == 1
    told = listed(part(receipt, "logs")) if done else ()
    found = [transfer(chain, each, place) for place, each in enumerate(told)]
    of_it = [each for each in found if each is not None and each.tx == tx and each.units]
    return done, number, hash, tuple(of_it)


def _padded(address: str) -> str:
    return f"0x{address[2:].lower():0>64}"
