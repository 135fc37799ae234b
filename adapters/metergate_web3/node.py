"""What the nodes of a chain say, over JSON-RPC. What makes no sense is not believed."""

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from metergate.ports import Clock
from metergate.provider_port import Http, Misconfigured, TryAgain
from metergate_web3.settings import Chain

T = TypeVar("T")
TIMEOUT_S: Final = 10.0
AHEAD_US: Final = 600 * 10**6
"""How far in the future a block may be; beyond that a node invents them."""
_DECIMALS: Final = "0x313ce567"
_WORD: Final = 66


class Refused(TryAgain):
    """A node answered with an error of its own, such as that too much was asked for at once."""


class Block(NamedTuple):
    number: int
    hash: str
    at_us: int


class Nodes:
    """All nodes of one chain."""

    def __init__(self, chain: Chain, http: Http, clock: Clock) -> None:
        self.chain = chain
        self.window = chain.blocks
        """How many blocks of logs may be asked for at once, as far as we know."""
        self._http = http
        self._clock = clock
        self._ids = itertools.count(1)
        self._proven = False

    async def ready(self) -> None:
        """Make sure, once, that the nodes are of this chain and the tokens are what the policy says."""
        if self._proven:
            return
        for id in await self.ask_all("eth_chainId"):
            if quantity(id) != self.chain.id:
                raise Misconfigured(
                    f"A node of the chain {self.chain.id} is one of {quantity(id)}: name another."
                )
        for token in self.chain.tokens:
            call = {"to": token.address, "data": _DECIMALS}
            for told in await self.ask_all("eth_call", call, "latest"):
                if told in (None, "0x") or quantity(told) != token.decimals:
                    raise Misconfigured(
                        f"{token.address} on the chain {self.chain.id} says that it has "
                        f"{'no' if told in (None, '0x') else quantity(told)} decimals; the policy gives "
                        f"{token.symbol} {token.decimals}."
                    )
        self._proven = True

    async def head(self) -> Block:
        """The newest block that the first node has."""
        return self._block(await self.ask("eth_getBlockByNumber", "latest", False))

    async def final(self) -> Block | None:
        """The newest block that will stay, as the slowest of the nodes has it; None while there is none."""
        found = await asyncio.gather(*(self._final(url) for url in self.chain.nodes))
        return None if None in found else min([each for each in found if each], key=lambda each: each.number)

    async def block(self, number: int) -> Block | None:
        """A block as all nodes have it; None where one of them does not, or they disagree."""
        told = await self.ask_all("eth_getBlockByNumber", hex(number), False)
        found = {self._block(each) if each else None for each in told}
        one = found.pop()
        return one if not found and one is not None and one.number == number else None

    async def ask(self, method: str, *params: object) -> Any:
        return await self._ask(self.chain.nodes[0], method, params)

    async def ask_all(self, method: str, *params: object) -> Sequence[Any]:
        return await asyncio.gather(*(self._ask(url, method, params) for url in self.chain.nodes))

    def narrow(self, asked: int) -> None:
        """A node did not want to look at so many blocks at once."""
        self.window = max(1, asked // 2)

    def widen(self) -> None:
        self.window = min(self.chain.blocks, self.window + max(1, self.window // 16))

    async def _final(self, url: str) -> Block | None:
        head = self._block(await self._ask(url, "eth_getBlockByNumber", ("latest", False)))
        if self.chain.confirmations:
            wanted = head.number + 1 - self.chain.confirmations
            if wanted < 0:
                return None
            told = await self._ask(url, "eth_getBlockByNumber", (hex(wanted), False))
        else:
            told = await self._ask(url, "eth_getBlockByNumber", (self.chain.finality, False))
        found = self._block(told)
        if found.number > head.number:
            raise TryAgain(
                f"A node of the chain {self.chain.id} says that blocks are final before it has them."
            )
        return found

    def _block(self, told: Any) -> Block:
        found = Block(
            quantity(part(told, "number")),
            word(part(told, "hash")),
            quantity(part(told, "timestamp")) * 10**6,
        )
        if found.at_us > self._clock() + AHEAD_US:
            raise TryAgain(f"A node of the chain {self.chain.id} has a block that is of the future.")
        return found

    async def _ask(self, url: str, method: str, params: Sequence[object]) -> Any:
        id = next(self._ids)
        asked = {"jsonrpc": "2.0", "id": id, "method": method, "params": list(params)}
        answer = await self._http(
            "POST",
            url,
            headers={"content-type": "application/json"},
            body=json.dumps(asked).encode(),
            timeout_s=TIMEOUT_S,
        )
        whose = f"A node of the chain {self.chain.id}"
        if answer.status == 429:
            raise TryAgain(f"{whose} is asked too often.", answer.after_s)
        if answer.status in (401, 403):
            raise Misconfigured(f"{whose} does not let us in: look at its address.")
        told = _read(answer.body)
        if told.get("error"):
            said = told["error"]
            why = said.get("message") if isinstance(said, dict) else said
            raise Refused(f"{whose} answers {method} with an error: {why!s:.200}")
        if answer.status != 200 or told.get("id") != id or "result" not in told:
            raise TryAgain(f"{whose} answers {method} with nothing that makes sense ({answer.status}).")
        return told["result"]


def agreed(chain: int, told: Sequence[T], what: str) -> T:
    """What all nodes say alike."""
    if any(each != told[0] for each in told[1:]):
        raise TryAgain(f"The nodes of the chain {chain} contradict each other about {what}.")
    return told[0]


def part(told: Any, name: str) -> Any:
    if not isinstance(told, dict) or name not in told:
        raise TryAgain(f"A node left out {name}.")
    return told[name]


def listed(told: Any) -> Sequence[Any]:
    if not isinstance(told, list):
        raise TryAgain(f"A node answered {told!r:.80} where a list was due.")
    return told


def quantity(told: object) -> int:
    """A whole number as nodes write it."""
    return _hex(told, lambda text: len(text) <= _WORD)


def word(told: object) -> str:
    """32 bytes, in small letters."""
    _hex(told, lambda text: len(text) == _WORD)
    return str(told).lower()


def _hex(told: object, fits: Callable[[str], bool]) -> int:
    if isinstance(told, str) and told.startswith("0x") and told[2:].isalnum() and fits(told):
        try:
            return int(told, 16)
        except ValueError:
            pass
    raise TryAgain(f"A node answered {told!r:.80} where a number was due.")


def _read(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    return told if isinstance(told, dict) else {}
