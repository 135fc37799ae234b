"""What a policy is connected to: payment providers, chains, and who issues invoices."""

# pydantic copies the defaults of its models, so a mutable one is shared by nobody.
# ruff: noqa: RUF012

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from metergate.config.fields import (
    Address,
    Currency,
    Flag,
    Name,
    Part,
    Positive,
    Text,
    Units,
    WebAddress,
    Word,
    spelled_out,
)


def _several(value: object) -> object:
    """One may stand where several may."""
    return [value] if isinstance(value, str) else value


class Provider(Part):
    """A payment provider and for whom it is chosen."""

    use: Word
    """sandbox, stripe, paypal, square, adyen, web3, or an installed metergate_<name>."""
    when: dict[Name, Text] = {}
    """Chosen for accounts with these facts (account, currency, plan, region), as patterns with `*`."""
    settings: dict[Name, Text] = {}
    """Settings of this provider alone, in place of the environment: `{STRIPE_SECRET_KEY: "${EU_KEY}"}`."""


ProviderChoice = Annotated[
    Provider, BeforeValidator(spelled_out("use"), json_schema_input_type=Provider | str)
]


Nodes = Annotated[
    list[WebAddress], BeforeValidator(_several, json_schema_input_type=list[WebAddress] | WebAddress)
]


class Token(Part):
    """A token that is accepted; its contract and decimals are fixed here and never taken from a payer."""

    symbol: Name
    """How it is called."""
    address: Address
    """Its contract."""
    decimals: Units
    """How many decimals its amounts have; the contract has to say the same."""
    currency: Currency = "USD"
    """What it is worth, one to one."""


class Chain(Part):
    """A chain on which payments are accepted."""

    id: Positive
    """Its number, such as 8453."""
    rpc: Nodes = []
    """A node to ask, or several, all of which have to agree before anything is credited; left out: the
    setting WEB3_RPC_URL."""
    finality: Literal["finalized", "safe", "latest"] = "finalized"
    """When a payment counts: as soon as its block is this, for the chain itself."""
    confirmations: Units = 0
    """When a payment counts, in blocks, its own among them; 0 leaves it to `finality`."""
    receive: Address
    """Where payments go: an address for this alone."""
    tokens: list[Token] = []
    """What is accepted."""
    test: Flag = False
    """Whether its tokens are worth nothing; of the well-known test chains that is known."""
    blocks: Positive = 1000
    """The most blocks whose logs a node is asked for at once; one that wants fewer gets fewer."""


class Web3(Part):
    """Payments on chains."""

    chains: Annotated[list[Chain], Field(min_length=1)]
    """Where payments are accepted."""


class Company(Part):
    """Who issues the invoices."""

    name: Text = ""
    """The name on invoices."""
    address: Text = ""
    """The postal address on invoices."""
    email: Text = ""
    """Where customers write to."""
    phone: Text = ""
    """Where customers call."""


class Invoices(Part):
    """How invoices are numbered and sent."""

    prefix: Text = ""
    """What every invoice number begins with."""
    due_days: Units = 30
    """How many days customers have to pay."""
    send: Flag = False
    """Whether invoices are sent as soon as they are made."""
