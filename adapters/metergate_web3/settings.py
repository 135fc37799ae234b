"""What an operator accepts: chains, their nodes, the address that receives, and tokens."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from metergate.core.money import exponent
from metergate.errors import ConfigurationError
from metergate.provider_port import Context

TEST_CHAINS: Final = frozenset({
    97, 300, 1337, 10200, 17000, 31337, 43113, 59141, 80002, 84532, 421614, 534351, 560048, 11142220,
    11155111, 11155420,
})  # fmt: skip
"""Chains whose tokens are worth nothing, whatever a policy says of them."""
FINALITIES: Final = ("finalized", "safe", "latest")
PLACES: Final = 4
"""How many decimals behind the currency's own make amounts differ: up to a hundredth of a cent is added."""
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Token:
    symbol: str
    address: str
    """In small letters, as nodes are compared with."""
    decimals: int
    currency: str

    @property
    def unit(self) -> int:
        """How many of the token's units are the smallest unit of the currency."""
        return int(10 ** (self.decimals - exponent(self.currency)))

    @property
    def choices(self) -> int:
        """How many amounts look alike at the currency's decimals."""
        return int(min(self.unit, 10**PLACES))

    def shown(self, units: int) -> str:
        whole, part = divmod(units, 10**self.decimals)
        text = f"{whole}.{part:0{self.decimals}d}".rstrip("0")
        return f"{text}0" if text.endswith(".") else text


@dataclass(frozen=True, slots=True)
class Chain:
    id: int
    nodes: tuple[str, ...] = field(repr=False)
    """Who is asked: the first for news, and all of them before anything is credited."""
    receive: str
    """As the operator wrote it."""
    tokens: tuple[Token, ...]
    finality: str = "finalized"
    confirmations: int = 0
    """How many blocks, its own among them, make a transfer final; 0 leaves it to `finality`."""
    test: bool = False
    blocks: int = 1000
    """The most that a node is asked for at once."""

    @property
    def hasty(self) -> bool:
        """Whether the newest block counts."""
        return self.confirmations == 1 or (self.finality == "latest" and not self.confirmations)

    def token(self, address: str) -> Token | None:
        return next((each for each in self.tokens if each.address == address), None)


def chains_of(context: Context) -> tuple[Chain, ...]:
    """The policy's section, or one sentence that says what is wrong with it."""
    listed = context.options.get("chains") or []
    if not listed:
        raise ConfigurationError("Name the chains that you accept payments on: add `web3: {chains: …}`.")
    chains = tuple([_chain(context, each, len(listed)) for each in listed])
    ids = [each.id for each in chains]
    if len(set(ids)) != len(ids):
        raise ConfigurationError("Name each chain of `web3` once, with all of its tokens.")
    if len({each.test for each in chains}) > 1:
        raise ConfigurationError("Name only real chains in `web3`, or only test chains: tests are no money.")
    return chains


def _chain(context: Context, told: Mapping[str, Any], among: int) -> Chain:
    id = int(told["id"])
    tokens = tuple([_token(id, each) for each in told.get("tokens") or ()])
    if not tokens:
        raise ConfigurationError(f"Name the tokens that you accept on the chain {id}.")
    if len({each.address for each in tokens}) != len(tokens):
        raise ConfigurationError(f"Name each contract on the chain {id} once.")
    finality = told.get("finality", "finalized")
    if finality not in FINALITIES:
        raise ConfigurationError(f"Write one of {', '.join(FINALITIES)} as the finality of the chain {id}.")
    return Chain(
        id=id,
        nodes=_nodes(context, id, told.get("rpc") or (), among),
        receive=_address(told.get("receive", ""), f"the receiving address on the chain {id}"),
        tokens=tokens,
        finality=finality,
        confirmations=int(told.get("confirmations", 0)),
        test=bool(told.get("test")) or id in TEST_CHAINS,
        blocks=max(1, int(told.get("blocks", 1000))),
    )


def _nodes(context: Context, id: int, told: str | Sequence[str], among: int) -> tuple[str, ...]:
    own = context.setting(f"WEB3_RPC_URL_{id}")
    if not own and told:
        return (str(told),) if isinstance(told, str) else tuple([str(each) for each in told])
    name = f"WEB3_RPC_URL_{id}" if own or among > 1 else "WEB3_RPC_URL"
    return context.secrets(name)


def _token(chain: int, told: Mapping[str, Any]) -> Token:
    symbol, currency = str(told["symbol"]), str(told.get("currency", "USD"))
    address = _address(told["address"], f"the contract of {symbol} on the chain {chain}").lower()
    token = Token(symbol, address, int(told["decimals"]), currency)
    if token.decimals < exponent(currency) + 2:
        raise ConfigurationError(
            f"{symbol} on the chain {chain} has too few decimals to tell payments of the same price apart."
        )
    return token


def _address(text: str, what: str) -> str:
    """An address whose capitals, where there are any, are its checksum: a typing mistake sends money away."""
    if not _ADDRESS.fullmatch(text) or int(text, 16) == 0:
        raise ConfigurationError(f"Write {what} as 0x and 40 hexadecimal digits.")
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != checksummed(text):
        raise ConfigurationError(f"Look at {what} again: its capitals do not fit its digits.")
    return text


def checksummed(address: str) -> str:
    """An address with the capitals of EIP-55."""
    from eth_hash.auto import keccak

    digits = address[2:].lower()
    nibbles = keccak(digits.encode()).hex()
    pairs = zip(digits, nibbles, strict=False)
    return "0x" + "".join([digit.upper() if nibble >= "8" else digit for digit, nibble in pairs])
