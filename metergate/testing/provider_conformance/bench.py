"""An adapter on a stand-in of its provider, and short words for what the tests do with it."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar

import pytest

from metergate.provider_port import (
    Approvals,
    Charges,
    Checkout,
    Checkouts,
    Customers,
    Lookups,
    Methods,
    Money,
    Order,
    Payer,
    PaymentFacts,
    Provider,
)
from metergate.testing.clock import FakeClock

T = TypeVar("T")

# What a stand-in is told to do with the next request of the adapter.
BUSY, BROKEN, UNANSWERED = "busy", "broken", "unanswered"
"""429 before anything happens; 500 before anything happens; it is done, and no answer comes."""

HOUR_US = 3600 * 10**6
PRICE = Money(1999, "USD")


class Delivery(NamedTuple):
    """A webhook as it is sent, signed at the instant of the clock."""

    headers: Mapping[str, str]
    body: bytes


class Bench(Protocol):
    """An adapter on a stand-in of its provider. What the stand-in cannot play raises NotImplementedError."""

    provider: Provider
    clock: FakeClock

    async def pay(self, checkout: Checkout, *, declined: bool = False) -> None:
        """The payer pays at this checkout, or tries to; or approves of it, where we have to complete that."""

    async def dispute(self, payment: str) -> None:
        """The payer's bank takes all of a paid payment back, and the dispute is lost."""

    async def news(self) -> Sequence[Delivery]:
        """Every webhook that was sent by now, signed anew at the present instant."""

    def next_request(self, kind: str) -> None:
        """Play BUSY, BROKEN or UNANSWERED at the next request that creates or changes something."""

    def made(self) -> int:
        """How many payments (or open checkouts) the provider has."""

    def method_token(self, *, declined: bool = False) -> str:
        """What the provider's page would make of a card that pays, or that is declined."""


@pytest.mark.anyio
class OnBench:
    """What all parts of the contract have in common."""

    @pytest.fixture(scope="session")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture
    async def bench(self) -> Bench:
        raise NotImplementedError("Override the fixture bench: it makes the adapter and its stand-in.")

    _numbers = count(1)

    def an_order(self, amount: Money = PRICE, **more: Any) -> Order:
        return Order(f"pay-{next(self._numbers)}", Payer("acct_1", "a@example.com", "A"), amount, **more)

    async def paid(self, bench: Bench, amount: Money = PRICE) -> PaymentFacts:
        """A payment that was made on a page."""
        order = self.an_order(amount)
        checkout = await able(bench, Checkouts).open_checkout(order)
        await bench.pay(checkout)
        return await seen(bench, checkout)

    async def with_method(self, bench: Bench, *, declined: bool = False) -> tuple[Charges, str, str]:
        charges = able(bench, Charges)
        customer = (await able(bench, Customers).create_customer(Payer("acct_1", "a@example.com"))).id
        token = token_of(bench, declined=declined)
        return charges, (await able(bench, Methods).attach_method(customer, token)).id, customer


def able(bench: Bench, protocol: type[T]) -> T:
    """The adapter as one that can do this."""
    if not isinstance(bench.provider, protocol):
        pytest.skip(f"This provider has no {protocol.__name__}.")
    return bench.provider


async def seen(bench: Bench, checkout: Checkout) -> PaymentFacts:
    """The payment after its payer was there; what he approved is completed, as the worker does it."""
    found = there(await able(bench, Lookups).fetch_payment(checkout.id))
    if found.approved:
        assert (found.state, found.capturable) == ("pending", False)
        return await able(bench, Approvals).complete_payment(found.id)
    return found


def there(found: T | None) -> T:
    assert found is not None
    return found


async def play(wanted: Any) -> Any:
    try:
        return await wanted
    except NotImplementedError:
        pytest.skip("The stand-in cannot play this.")


def play_next(bench: Bench, kind: str) -> None:
    try:
        bench.next_request(kind)
    except NotImplementedError:
        pytest.skip("The stand-in cannot play this.")


def token_of(bench: Bench, *, declined: bool = False) -> str:
    try:
        return bench.method_token(declined=declined)
    except NotImplementedError:
        pytest.skip("The stand-in cannot play this.")
