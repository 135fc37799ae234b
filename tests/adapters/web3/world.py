"""A chain with tokens and people on it, and the adapter that watches one address of it."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address
from eth_utils.conversions import to_hex
from eth_utils.crypto import keccak

from metergate.provider_port import (
    Answer,
    Checkout,
    Context,
    EventPage,
    Http,
    Money,
    Order,
    Payer,
    PaymentFacts,
    ProviderEvent,
)
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_web3 import Web3Provider, open_provider
from tests.adapters.web3.evm import Evm
from tests.adapters.web3.rpc import Rpc
from tests.waiting import until

TOKENS: Final = Path(__file__).parent / "tokens"
CONTRACTS: Final[Mapping[str, Any]] = json.loads((TOKENS / "contracts.json").read_text())
SHOP: Final = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
PRICE: Final = Money(1999, "USD")
RICH: Final = 10**24


async def impatient(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout_s: float = 20,
) -> Answer:
    """HTTP that gives up soon, for nodes that say nothing at all."""
    return await ask(method, url, headers=headers, body=body, timeout_s=min(timeout_s, 0.2))


class Town(NamedTuple):
    """What a chain begins with: contracts, and people. The first two are rich in every token."""

    chain: int
    accounts: Sequence[str]
    usdc: str
    usdt: str
    coin18: str
    fake: str
    """A contract that says of itself what USDC says, and that nobody has listed."""
    twice: str


class World:
    """One chain, and somebody who sells on it."""

    def __init__(self, evm: Evm, rpc: Rpc, town: Town, now_us: int) -> None:
        self.evm = evm
        self.rpc = rpc
        self.town = town
        self.clock = FakeClock(now_us)
        self.notes = NotesInMemory()
        self.chain, self.accounts, self.usdc, self.usdt, self.coin18, self.fake, self.twice = town

    @property
    def payer(self) -> str:
        return self.accounts[0]

    @property
    def stranger(self) -> str:
        return self.accounts[1]

    # -- the shop ------------------------------------------------------------------------------------------

    def options(self, **more: Any) -> dict[str, Any]:
        tokens = [
            {"symbol": "USDC", "address": self.usdc, "decimals": 6},
            {"symbol": "USDT", "address": self.usdt, "decimals": 6},
            {"symbol": "DAI", "address": self.coin18, "decimals": 18},
        ]
        chain = {"id": self.chain, "rpc": [self.rpc.url], "receive": SHOP, "tokens": tokens, "test": True}
        return {"chains": [{**chain, **more}]}

    def provider(self, **more: Any) -> Web3Provider:
        return self.provider_of(*self.options(**more)["chains"])

    def provider_of(self, *chains: Mapping[str, Any], http: Http = ask) -> Web3Provider:
        return open_provider(Context("web3", self.clock, http, self.notes, {}, {"chains": list(chains)}))

    async def checkout(
        self, provider: Web3Provider, id: str, amount: Money = PRICE, token: str = "", **more: Any
    ) -> Checkout:
        chosen = {"token": token} if token else {}
        return await provider.open_checkout(Order(id, Payer("acct"), amount, options=chosen, **more))

    # -- people --------------------------------------------------------------------------------------------

    async def pay(
        self, checkout: Checkout, who: str = "", more: int = 0, token: str = "", to: str = ""
    ) -> str:
        """Send what a checkout asks for, or nearly; the hash of the transaction."""
        told = checkout.details
        units = int(told["units"]) + more
        return await self.transfer(who or self.payer, token or told["contract"], units, to or told["address"])

    async def transfer(self, who: str, token: str, units: int, to: str = SHOP) -> str:
        return await self.send(who, token, "transfer(address,uint256)", to, units)

    async def both(self, token: str, first: int, second: int) -> str:
        """Two transfers in one transaction, both by the payer."""
        await self.send(self.payer, token, "approve(address,uint256)", self.twice, first + second)
        called = "pay(address,address,uint256,uint256)"
        return await self.send(self.payer, self.twice, called, token, SHOP, first, second)

    async def post(self, written: str) -> str:
        """Send a transaction that was written before; its hash."""
        tx = str(await self.evm.call("eth_sendRawTransaction", written))
        await receipt_of(self.evm, tx)
        return tx

    async def authorised(self, who: int, sender: str, units: int) -> str:
        """A transfer of USDC to the shop that one has signed, and another sends (EIP-3009)."""
        token, nonce = to_checksum_address(self.usdc), bytes(31) + b"\1"
        said = {
            "from": to_checksum_address(self.accounts[who]), "to": SHOP, "value": units,
            "validAfter": 0, "validBefore": 2**40, "nonce": nonce,
        }  # fmt: skip
        kinds = ("address", "address", "uint256", "uint256", "uint256", "bytes32")
        fields = [{"name": name, "type": kind} for name, kind in zip(said, kinds, strict=True)]
        domain = {"name": "USD Coin", "version": "2", "chainId": self.chain, "verifyingContract": token}
        kind = "TransferWithAuthorization"
        made = Account.sign_typed_data(self.evm.keys[who], domain, {kind: fields}, said)
        r, s = (number.to_bytes(32, "big") for number in (made.r, made.s))
        called = f"transferWithAuthorization({','.join(kinds)},uint8,bytes32,bytes32)"
        return await self.send(sender, token, called, *said.values(), made.v, r, s)

    def signed(self, text: str, who: int = 0) -> str:
        """What the wallet of an account makes of a text (personal_sign)."""
        made = Account.sign_message(encode_defunct(text=text), self.evm.keys[who])
        return to_hex(made.signature)

    # -- the chain -----------------------------------------------------------------------------------------

    async def send(self, who: str, to: str, called: str, *arguments: Any) -> str:
        return await send(self.evm, who, to, called, *arguments)

    async def written(self, who: int, token: str, units: int) -> str:
        """A transfer to the shop that can be sent, and after a reorganisation be sent again as it is."""
        nonce = int(await self.evm.call("eth_getTransactionCount", self.accounts[who], "latest"), 16)
        fields = {
            "to": to_checksum_address(token), "data": encoded("transfer(address,uint256)", SHOP, units),
            "nonce": nonce, "chainId": self.chain, "value": 0, "gas": 200_000,
            "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9,
        }  # fmt: skip
        made = Account.sign_transaction(fields, self.evm.keys[who])
        return to_hex(made.raw_transaction)

    async def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            await self.evm.call("evm_mine")

    async def later(self, seconds: int) -> None:
        """Time passes here and on the chain."""
        self.clock.advance(seconds=seconds)
        await self.evm.call("evm_increaseTime", seconds)
        await self.mine()

    async def snapshot(self) -> str:
        return str(await self.evm.call("evm_snapshot"))

    async def reorganise(self, snapshot: str, blocks: int) -> None:
        """Other blocks take the place of those since the snapshot; theirs are as if they had never been."""
        await self.evm.call("evm_revert", snapshot)
        await self.evm.call("evm_increaseTime", 5)
        await self.mine(blocks)

    async def height(self) -> int:
        return int((await self.evm.call("eth_getBlockByNumber", "latest", False))["number"], 16)


async def found_town(evm: Evm) -> Town:
    accounts = await evm.call("eth_accounts")
    chain = int(await evm.call("eth_chainId"), 16)
    names = (("UsdcLike", 6), ("UsdtLike", 6), ("UsdcLike", 18), ("UsdcLike", 6), ("Twice",))
    contracts = [await _deployed(evm, accounts[0], *each) for each in names]
    for token in contracts[:4]:
        for who in accounts[:2]:
            await send(evm, who, token, "mint(address,uint256)", who, RICH)
    return Town(chain, accounts, *contracts)


async def send(evm: Evm, who: str, to: str, called: str, *arguments: Any) -> str:
    """A transaction that is mined at once; its hash."""
    receipt = await _mined(evm, {"from": who, "to": to, "data": encoded(called, *arguments)})
    return str(receipt["transactionHash"])


async def _deployed(evm: Evm, who: str, name: str, *arguments: int) -> str:
    code = CONTRACTS[name]["bytecode"] + encode(["uint8"] * len(arguments), arguments).hex()
    return str((await _mined(evm, {"from": who, "data": code}))["contractAddress"])


async def _mined(evm: Evm, transaction: dict[str, Any]) -> Mapping[str, Any]:
    return await receipt_of(
        evm, await evm.call("eth_sendTransaction", {"gas": hex(3_000_000), **transaction})
    )


async def receipt_of(evm: Evm, tx: str) -> Mapping[str, Any]:
    """It is mined at once, and anvil tells of it a moment later."""
    found: list[Mapping[str, Any]] = []

    async def told() -> bool:
        receipt = await evm.call("eth_getTransactionReceipt", tx)
        found.extend([receipt] if receipt else [])
        return bool(found)

    await until(told)
    return found[0]


def encoded(called: str, *arguments: Any) -> str:
    types = called.partition("(")[2].removesuffix(")").split(",")
    return "0x" + (keccak(text=called)[:4] + encode(types, arguments)).hex()


async def everything(provider: Web3Provider, cursor: str = "") -> tuple[list[ProviderEvent], str]:
    """All pages of the feed."""
    events: list[ProviderEvent] = []
    page = EventPage((), cursor, more=True)
    while page.more:
        page = await provider.events_after(page.cursor)
        events += page.events
    return events, page.cursor


def there(found: PaymentFacts | None) -> PaymentFacts:
    assert found is not None
    return found


@asynccontextmanager
async def a_world(evm: Evm, town: Town) -> AsyncIterator[World]:
    rpc = Rpc(evm)
    await rpc.start()
    head = await evm.call("eth_getBlockByNumber", "latest", False)
    try:
        yield World(evm, rpc, town, int(head["timestamp"], 16) * 10**6)
    finally:
        await rpc.close()
