"""What an operator may write, and the sentences for what cannot work. No node is asked."""

from typing import Any

import pytest

from metergate.errors import ConfigurationError
from metergate.provider_port import Context, Money, capabilities
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_web3 import Web3Provider, open_provider
from metergate_web3.settings import checksummed

USDC = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
SHOP = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
TOKEN = {"symbol": "USDC", "address": USDC, "decimals": 6}
CHAIN: dict[str, Any] = {"id": 8453, "rpc": ["https://a.example"], "receive": SHOP, "tokens": [TOKEN]}


def opened(*chains: dict[str, Any], **settings: str) -> Web3Provider:
    notes = NotesInMemory()
    return open_provider(Context("web3", FakeClock(), ask, notes, settings, {"chains": list(chains)}))


def complaint(*chains: dict[str, Any], **settings: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        opened(*chains, **settings)
    return str(caught.value)


def test_it_can_do_what_a_chain_can() -> None:
    provider = opened(CHAIN)
    assert capabilities(provider) == ("checkouts", "lookups", "claims", "feed")
    assert provider.live


def test_tokens_of_known_test_chains_are_no_money() -> None:
    """Whatever the policy says of them."""
    assert not opened({**CHAIN, "id": 84532, "test": False}).live
    assert not opened({**CHAIN, "test": True}).live
    assert "only real chains" in complaint(CHAIN, {**CHAIN, "id": 84532})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tokens": []}, "Name the tokens"),
        ({"tokens": [TOKEN, TOKEN]}, "Name each contract on the chain 8453 once."),
        ({"receive": "0x1234"}, "Write the receiving address on the chain 8453 as 0x and 40"),
        ({"receive": "0x" + "0" * 40}, "Write the receiving address"),
        ({"receive": SHOP.replace("A", "a", 1)}, "its capitals do not fit its digits"),
        ({"finality": "soon"}, "Write one of finalized, safe, latest"),
        ({"tokens": [{**TOKEN, "decimals": 3}]}, "too few decimals"),
        ({"rpc": []}, "Set WEB3_RPC_URL"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_cannot_work_is_one_sentence(changed: dict[str, Any], said: str) -> None:
    assert said in complaint({**CHAIN, **changed})


def test_a_chain_is_named_once_and_at_least_one_is() -> None:
    assert "Name each chain" in complaint(CHAIN, CHAIN)
    assert "Name the chains" in complaint()


def test_a_node_may_come_from_the_environment() -> None:
    """One setting for one chain, and one for each of several; they go before the policy only by number."""
    bare = {**CHAIN, "rpc": []}
    opened(bare, WEB3_RPC_URL="https://a.example")
    two = {**bare, "id": 10}
    assert "Set WEB3_RPC_URL_8453" in complaint(bare, two, WEB3_RPC_URL="https://a.example")
    opened(bare, two, WEB3_RPC_URL_8453="https://a.example", WEB3_RPC_URL_10="https://b.example")


async def test_the_doctor_names_chains_whose_newest_block_counts() -> None:
    """Only where it is about money."""
    for hasty in ({"finality": "latest"}, {"confirmations": 1}):
        [said] = await opened({**CHAIN, **hasty}).examine()
        assert "The chain 8453 counts payments as soon as a block has them" in said
        assert await opened({**CHAIN, **hasty, "test": True}).examine() == []
    for patient in ({}, {"finality": "safe"}, {"finality": "latest", "confirmations": 12}):
        assert await opened({**CHAIN, **patient}).examine() == []


def test_what_is_paid_in_is_what_tokens_are_worth() -> None:
    euro = {**TOKEN, "symbol": "EURC", "address": "0x" + "1" * 40, "currency": "EUR"}
    provider = opened({**CHAIN, "tokens": [TOKEN, euro]})
    assert provider.objection(Money(100, "EUR")) == ""
    assert provider.objection(Money(100, "JPY")) == "Tokens are accepted for EUR, USD, not for JPY."


@pytest.mark.parametrize(
    "address",
    ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"],
)
def test_capitals_are_those_of_eip_55(address: str) -> None:
    assert checksummed(address.lower()) == address
