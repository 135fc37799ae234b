"""Payments on a chain keep the contract of a payment provider, over HTTP and on a real EVM."""

from collections.abc import Sequence

import pytest

from metergate.provider_port import Checkout
from metergate.testing.provider_conformance import Delivery, ProviderContract
from tests.adapters.web3.world import World


class Web3Bench:
    def __init__(self, world: World) -> None:
        self.world = world
        self.provider = world.provider()
        self.clock = world.clock

    async def pay(self, checkout: Checkout, *, declined: bool = False) -> None:
        """A payer who has too little is declined by the token: the transaction is there, and has failed."""
        await self.world.pay(checkout, who=self.world.accounts[5] if declined else "")

    async def transfer(self, checkout: Checkout) -> tuple[str, str]:
        return await self.world.pay(checkout), ""

    async def dispute(self, payment: str) -> None:
        raise NotImplementedError("Nobody takes a transfer back.")

    async def news(self) -> Sequence[Delivery]:
        raise NotImplementedError("A chain sends no news; they are fetched.")

    def next_request(self, kind: str) -> None:
        self.world.rpc.next = [kind]

    def made(self) -> int:
        return len([name for name in self.world.notes._texts if name.startswith("order/")])

    def method_token(self, *, declined: bool = False) -> str:
        raise NotImplementedError("Nothing is kept to pay with.")


class TestWeb3(ProviderContract):
    @pytest.fixture
    async def bench(self, world: World) -> Web3Bench:
        return Web3Bench(world)
